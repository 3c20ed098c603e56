// Rotation and revocation of signing keys, as the readers of tokens see them.
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { calculateJwkThumbprint, decodeProtectedHeader, exportJWK } from 'jose'
import t, { type Test } from 'tap'
import { byPassword } from '../../src/core/claims.ts'
import {
  PUBLISHED_BEFORE_SIGNING_SECONDS,
  TRUSTED_AFTER_SIGNING_SECONDS
} from '../../src/core/signing-key-schedule.ts'
import type { MasterKeys } from '../../src/crypto/sealing.ts'
import { generateSigningKey } from '../../src/crypto/signing-keys.ts'
import type { Clock } from '../support/clock.ts'
import {
  createTable,
  KEY_1,
  KEY_2,
  partsOf,
  type Reader,
  SUBJECT,
  startReader,
  type Table,
  write
} from './token-reader.ts'

const PASSWORD = byPassword(new Date('2030-01-02T12:00:00Z'))

t.test(
  'the first key is created once, stored sealed, and published without its private half',
  async (t) => {
    const table = createTable()
    const [one, other] = await Promise.all([startReader(t, { table }), startReader(t, { table })])
    t.equal(table.rows.length, 1)
    t.strictSame(one.signingKeys.jwks(), other.signingKeys.jwks())
    const [jwk] = one.signingKeys.jwks().keys
    t.strictSame(Object.keys(jwk ?? {}).sort(), ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'])
    t.match(jwk, { kty: 'EC', crv: 'P-256', alg: 'ES256', use: 'sig' })
    const privateKey = createPrivateKey(one.signingKeys.current().privateKeyPem)
    t.equal(jwk?.kid, await calculateJwkThumbprint(await exportJWK(createPublicKey(privateKey))))
    const { d = '' } = privateKey.export({ format: 'jwk' })
    t.notOk(JSON.stringify(table.rows).includes(d))
    await t.rejects(startReader(t, { table, masterKeys: [KEY_2] }), { name: 'UnsealError' })
  }
)

/** Starts another replica, after one more signing key was added. */
async function rotate(t: Test, table: Table, clock: Clock) {
  const fresh = createTable()
  await startReader(t, { table: fresh, clock })
  table.rows.push(...fresh.rows)
  return startReader(t, { table, clock })
}

t.test('a token by another replica’s new key is read after a reload', async (t) => {
  const reader = await startReader(t)
  const { table, clock, read, signingKeys } = reader
  const { accessToken: older } = reader.tokens.issueAccessToken(SUBJECT, PASSWORD)
  const olderKid = signingKeys.current().kid
  clock.advance({ seconds: 5 })
  const other = await rotate(t, table, clock)
  const { accessToken: newer } = other.tokens.issueAccessToken(SUBJECT, PASSWORD)
  t.not(other.signingKeys.current().kid, olderKid)
  t.ok(await other.read('access', older), 'by an older key of the ring')

  const reads = table.reads
  clock.advance({ seconds: 4 })
  t.equal(await read('access', newer), null, 'nine seconds after the last load')
  t.equal(table.reads, reads)
  clock.advance({ seconds: 1 })
  t.ok(await read('access', newer), 'ten seconds after it')
  t.equal(table.reads, reads + 1)
  t.ok(await read('access', older))
  t.equal(
    signingKeys.current().kid,
    other.signingKeys.current().kid,
    'and signs with it from then on'
  )
  const { accessToken } = reader.tokens.issueAccessToken(SUBJECT, PASSWORD)
  t.ok(await read('access', accessToken))
  const kids = [signingKeys.current().kid, olderKid]
  for (const { jwks } of [signingKeys, other.signingKeys]) {
    t.strictSame(
      jwks().keys.map(({ kid }) => kid),
      kids,
      'newest first, and the older one while its tokens are valid'
    )
  }
})

/** Stores a key that signs when every replica and every cache contains it, as a rotation does. */
function addNext(table: Table, masterKeys: MasterKeys = [KEY_1]): string {
  const key = generateSigningKey(masterKeys)
  const signsFrom = table.clock.now().getTime() + PUBLISHED_BEFORE_SIGNING_SECONDS * 1000
  table.add(key, new Date(signsFrom))
  return key.id
}

const kidsOf = ({ signingKeys }: Reader) => signingKeys.jwks().keys.map(({ kid }) => kid)

t.test(
  'a new key is published, then signs, and the old one is trusted while its tokens are valid',
  async (t) => {
    const reader = await startReader(t)
    const { tokens, signingKeys, table, clock, read } = reader
    const older = signingKeys.current().kid
    const newer = addNext(table)
    await signingKeys.keepUp()
    t.strictSame(kidsOf(reader), [older, newer], 'published after the signing key')
    t.equal(signingKeys.current().kid, older)

    clock.advance({ seconds: PUBLISHED_BEFORE_SIGNING_SECONDS - 1 })
    await signingKeys.keepUp()
    t.equal(signingKeys.current().kid, older)
    const { accessToken: last } = tokens.issueAccessToken(SUBJECT, PASSWORD)
    clock.advance({ seconds: 1 })
    await signingKeys.keepUp()
    t.strictSame(kidsOf(reader), [newer, older])
    const { accessToken: first } = tokens.issueAccessToken(SUBJECT, PASSWORD)
    t.equal(decodeProtectedHeader(first).kid, newer)
    t.ok(await read('access', last))
    t.ok(await read('access', first))

    clock.advance({ seconds: TRUSTED_AFTER_SIGNING_SECONDS - 1 })
    await signingKeys.keepUp()
    t.strictSame(kidsOf(reader), [newer, older])
    clock.advance({ seconds: 1 })
    await signingKeys.keepUp()
    t.strictSame(kidsOf(reader), [newer])
    t.strictSame(
      table.rows.map(({ id }) => id),
      [newer],
      'and its row is deleted'
    )
    await signingKeys.keepUp()
    t.equal(table.rows.length, 1)
  }
)

t.test('null: a token by a key that was replaced immediately', async (t) => {
  const reader = await startReader(t)
  const { tokens, signingKeys, table, clock, read } = reader
  const { accessToken } = tokens.issueAccessToken(SUBJECT, PASSWORD)
  const leaked = signingKeys.current().kid
  table.rows.splice(0)
  table.add(generateSigningKey([KEY_1]), clock.now())
  t.ok(await read('access', accessToken))
  await signingKeys.keepUp()
  t.notOk(kidsOf(reader).includes(leaked))
  t.equal(await read('access', accessToken), null)
  t.ok(await read('access', tokens.issueAccessToken(SUBJECT, PASSWORD).accessToken))
})

t.test(
  'a key that MASTER_KEYS cannot open is reported, and the other keys stay in use',
  async (t) => {
    const reader = await startReader(t)
    const { signingKeys, table, clock, read } = reader
    const { header, payload, sign, issued } = partsOf('access', reader)
    const kid = addNext(table, [KEY_2])
    await t.rejects(signingKeys.keepUp(), { name: 'UnsealError', message: /"k2"/ })
    clock.advance({ seconds: 10 })
    t.equal(await read('access', write({ ...header, kid }, payload, sign)), null)
    t.ok(await read('access', issued))
    t.equal(signingKeys.current().kid, header.kid)

    table.rows.splice(0, 1)
    await t.rejects(signingKeys.keepUp(), { name: 'UnsealError' }, 'also if it is the only key')
    t.ok(await read('access', issued), 'the opened keys stay in use')
  }
)

t.test('a clock that is set back does not delay the reload', async (t) => {
  const { table, clock, read } = await startReader(t)
  clock.advance({ seconds: 5 })
  const other = await rotate(t, table, clock)
  const { accessToken } = other.tokens.issueAccessToken(SUBJECT, PASSWORD)
  t.equal(await read('access', accessToken), null)
  clock.advance({ minutes: -60 })
  t.ok(await read('access', accessToken))
})

t.test('forged tokens cause one read of the keys in ten seconds at most', async (t) => {
  const reader = await startReader(t)
  const { table, clock, read } = reader
  const { header, payload, sign } = partsOf('access', reader)
  const forge = (index: number) => write({ ...header, kid: `unknown-${index}` }, payload, sign)
  const reads = table.reads
  for (let second = 1; second <= 60; second++) {
    clock.advance({ seconds: 1 })
    const answers = await Promise.all(
      [0, 1, 2].map((index) => read('access', forge(second * 3 + index)))
    )
    t.strictSame(answers, [null, null, null])
  }
  t.equal(table.reads, reads + 6)
})

t.test(
  '500: a token by an unknown key without the database; tokens by known keys are read',
  async (t) => {
    const reader = await startReader(t)
    const { table, clock, read } = reader
    const { header, payload, sign, issued } = partsOf('access', reader)
    const unknown = write({ ...header, kid: 'unknown' }, payload, sign)
    const gone = Object.assign(new Error('gone'), { code: 'P1001' })
    for (const failure of [gone, new Error('Connection terminated unexpectedly')]) {
      clock.advance({ seconds: 10 })
      table.failure = failure
      t.ok(await read('access', issued))
      t.equal(
        await read('access', unknown),
        500,
        'the error reaches the handler, which recognises it'
      )
    }
    table.failure = null
    clock.advance({ seconds: 10 })
    t.equal(await read('access', unknown), null)
  }
)
