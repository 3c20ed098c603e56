// A minimal service that reads tokens, over a signing key table in memory that several replicas can share.
import {
  createHmac,
  createPrivateKey,
  type KeyObject,
  randomBytes,
  sign as signBytes
} from 'node:crypto'
import Fastify from 'fastify'
import { decodeJwt } from 'jose'
import type { Test } from 'tap'
import { byPassword, withCode } from '../../src/core/claims.ts'
import { deriveKey, type MasterKey, type MasterKeys } from '../../src/crypto/sealing.ts'
import { openSigningKeyRing } from '../../src/crypto/signing-key-ring.ts'
import type { NewSigningKey } from '../../src/crypto/signing-keys.ts'
import { createTokens, stepKeysOf } from '../../src/crypto/tokens.ts'
import type { SigningKey } from '../../src/data/keys/signing-keys.ts'
import { tokenVerification } from '../../src/plugins/credentials/token-verification.ts'
import { type Clock, createClock } from '../support/clock.ts'

const PASSWORD = byPassword(new Date('2030-01-02T12:00:00Z'))

export const ISSUER = 'https://id.example.com'
export const SUBJECT = {
  accountId: '018f4e3c-0000-7000-8000-000000000001',
  audience: 'https://api.acme.example',
  userId: '018f4e3c-0000-7000-8000-000000000002',
  email: 'ada@acme.example',
  role: 'member',
  epoch: 3
} as const
export const KEY_1: MasterKey = { id: 'k1', key: randomBytes(32) }
export const KEY_2: MasterKey = { id: 'k2', key: randomBytes(32) }

/** The table of signing keys, which replicas share. Its clock is the clock of the replica that was started last. */
export function createTable() {
  const rows: SigningKey[] = []
  const table = {
    rows,
    reads: 0,
    failure: null as Error | null,
    clock: createClock(),
    async list() {
      table.reads++
      if (table.failure) throw table.failure
      return { keys: [...rows], at: table.clock.now() }
    },
    async createFirst(key: NewSigningKey) {
      if (rows.length === 0) table.add(key, table.clock.now())
    },
    async forget(ids: readonly string[]) {
      const kept = rows.filter(({ id }) => !ids.includes(id))
      return rows.splice(0, rows.length, ...kept).length - kept.length
    },
    add({ id, sealedPrivateKey }: NewSigningKey, signsFrom: Date) {
      rows.push({ id, sealedPrivateKey, createdAt: table.clock.now(), signsFrom })
    }
  }
  return table
}
export type Table = ReturnType<typeof createTable>

interface Settings {
  masterKeys?: MasterKeys
  table?: Table
  clock?: Clock
  issuer?: string
}

/** Starts a service that only reads tokens. */
export async function startReader(t: Test, settings: Settings = {}) {
  const { masterKeys = [KEY_1], clock = createClock(), issuer = ISSUER } = settings
  const table = settings.table ?? createTable()
  const { now } = clock
  table.clock = clock
  const signingKeys = await openSigningKeyRing({ stored: table, masterKeys, now })
  const tokens = createTokens({ issuer, masterKeys, signingKeys, now })
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(tokenVerification, { issuer, stepKeys: stepKeysOf(masterKeys), signingKeys })
  app.post<{ Body: { token: string } }>('/step', async (request) => ({
    claims: await tokens.readStepToken(request, request.body.token)
  }))
  app.post<{ Body: { token: string } }>('/access', async (request) => ({
    claims: await tokens.readAccessToken(request, request.body.token)
  }))

  /** Returns the claims that a reader returns: null for a rejected token. Returns the status of a failure. */
  async function read(kind: Kind, token: string) {
    const answer = await app.inject({ method: 'POST', url: `/${kind}`, payload: { token } })
    return answer.statusCode === 200 ? answer.json().claims : answer.statusCode
  }
  return { tokens, signingKeys, table, clock, read }
}
export type Reader = Awaited<ReturnType<typeof startReader>>
export type Kind = 'step' | 'access'

/** Returns base64url of bytes, of a text, or of the JSON of a value. */
export const base64url = (part: unknown) =>
  Buffer.from(part instanceof Uint8Array ? part : json(part)).toString('base64url')
/** Returns a text as it is, and the JSON of every other value. */
export const json = (part: unknown) => (typeof part === 'string' ? part : JSON.stringify(part))
export const hmac = (key: string | Uint8Array, hash: string) => (input: string) =>
  createHmac(hash, key).update(input).digest()
export const ecdsa =
  (key: KeyObject, dsaEncoding: 'ieee-p1363' | 'der' = 'ieee-p1363') =>
  (input: string) =>
    signBytes('sha256', Buffer.from(input), { key, dsaEncoding })

type Sign = (input: string) => Uint8Array
/** Returns a token of any header and payload: a text is used as it is, an object as its JSON. */
export function write(header: unknown, payload: unknown, sign: Sign): string {
  const input = `${base64url(header)}.${base64url(payload)}`
  return `${input}.${Buffer.from(sign(input)).toString('base64url')}`
}

/** Returns the parts of a valid token of a kind, taken from one that the service issued. */
export function partsOf(kind: Kind, { tokens, signingKeys }: Reader) {
  const { kid, privateKeyPem } = signingKeys.current()
  const stepKey = deriveKey(KEY_1, 'step-token').toString('base64url')
  const privateKey = createPrivateKey(privateKeyPem)
  const issued =
    kind === 'step'
      ? tokens.issueStepToken(SUBJECT, 'verify', PASSWORD).stepToken
      : tokens.issueAccessToken(SUBJECT, withCode(PASSWORD)).accessToken
  const [, , signature = ''] = issued.split('.')
  return {
    issued,
    signature,
    stepKey,
    privateKey,
    payload: decodeJwt(issued),
    header:
      kind === 'step'
        ? { alg: 'HS256', typ: 'step+jwt', kid: 'k1' }
        : { alg: 'ES256', typ: 'at+jwt', kid },
    sign: kind === 'step' ? hmac(stepKey, 'sha256') : ecdsa(privateKey)
  }
}
export type Parts = ReturnType<typeof partsOf>
