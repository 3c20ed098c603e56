// The keys of a deployment that exists only to be measured, and what they make: nobody signs in with a password here, since
// that would take an hour for as many people.
import { createHmac, randomBytes } from 'node:crypto'
import { createSigner } from 'fast-jwt'
import { formatBearerKey } from '../src/core/bearer-keys.ts'
import { STEP_TOKEN_TYPE, type StepPurpose, stepClaims } from '../src/core/claims.ts'
import { generateId } from '../src/crypto/ids.ts'
import { deriveKey, type MasterKeys } from '../src/crypto/sealing.ts'
import { generateBearerKey } from '../src/crypto/secrets.ts'
import type { Person } from './people.ts'

export const ISSUER = 'https://auth.bench.example'
export const OPERATOR_KEY = formatBearerKey(generateBearerKey('operator'))

const masterKey = { id: 'bench', key: randomBytes(32) }
export const MASTER_KEYS: MasterKeys = [masterKey]
export const MASTER_KEYS_TEXT = `${masterKey.id}:${masterKey.key.toString('base64')}`

export const STEP_KEY = deriveKey(masterKey, 'step-token').toString('base64url')

const signStep = createSigner({
  key: STEP_KEY,
  algorithm: 'HS256',
  kid: masterKey.id,
  header: { alg: 'HS256', typ: STEP_TOKEN_TYPE }
})

/** A step token as a right password just now would have led to. */
export function stepTokenOf({ accountId, userId }: Person, purpose: StepPurpose): string {
  const subject = { accountId, userId, epoch: 0, audience: '', email: '', role: 'member' as const }
  const made = { issuer: ISSUER, jti: generateId(), amr: ['pwd'], now: new Date() }
  return signStep({ ...stepClaims(subject, purpose, made) })
}

/** 160 bits that are the same for the same name in this run, so that they need not be kept. */
export function secretNamed(name: string): Buffer {
  return createHmac('sha256', masterKey.key).update(name).digest().subarray(0, 20)
}
