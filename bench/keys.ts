// The keys of the benchmark's own deployment, and the step tokens and secrets derived from them. The benchmark signs step
// tokens itself, because password sign-ins for so many users would take an hour.
import { createHmac, randomBytes } from 'node:crypto'
import { createSigner } from 'fast-jwt'
import { formatBearerKey } from '../src/core/bearer-keys.ts'
import { byPassword, STEP_TOKEN_TYPE, type StepPurpose, stepClaims } from '../src/core/claims.ts'
import { generateId } from '../src/crypto/ids.ts'
import { deriveKey, type MasterKeys } from '../src/crypto/sealing.ts'
import { generateOperatorKey } from '../src/crypto/secrets.ts'
import type { BenchUser } from './users.ts'

export const ISSUER = 'https://auth.bench.example'
export const OPERATOR_KEY = formatBearerKey(generateOperatorKey())

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

/** Returns a step token like the one that the service issues after a right password. */
export function signStepToken({ accountId, userId }: BenchUser, purpose: StepPurpose): string {
  const subject = { accountId, userId, epoch: 0, audience: '', email: '', role: 'member' as const }
  const now = new Date()
  const { amr, firstFactor } = byPassword(now)
  const issue = { issuer: ISSUER, jti: generateId(), amr, firstFactor, now }
  return signStep({ ...stepClaims(subject, purpose, issue) })
}

/** Returns 160 bits that depend only on the name during one run, so the benchmark does not have to store them. */
export function secretFor(name: string): Buffer {
  return createHmac('sha256', masterKey.key).update(name).digest().subarray(0, 20)
}
