import { createPublicKey } from 'node:crypto'
import { decodeJwt, jwtVerify } from 'jose'
import t from 'tap'
import { byPassword } from '../../src/core/claims.ts'
import { createClock } from '../support/clock.ts'
import { createTable, ISSUER, KEY_1, KEY_2, SUBJECT, startReader } from './token-reader.ts'

const PASSWORD = byPassword(new Date('2030-01-02T12:00:00Z'))

t.test(
  'an issued token is read with exactly its claims, and only by the reader of its kind',
  async (t) => {
    const { tokens, read, signingKeys } = await startReader(t)
    for (const purpose of ['verify', 'enroll'] as const) {
      const { stepToken, expiresInSeconds } = tokens.issueStepToken(SUBJECT, purpose, PASSWORD)
      const claims = await read('step', stepToken)
      t.match(claims, { iss: ISSUER, sub: SUBJECT.userId, purpose, amr: ['pwd'], epoch: 3 })
      t.equal(claims.exp - claims.iat, expiresInSeconds)
      t.equal(await read('access', stepToken), null)
    }
    const { accessToken, expiresIn } = tokens.issueAccessToken(SUBJECT, PASSWORD)
    const claims = await read('access', accessToken)
    t.match(claims, { iss: ISSUER, aud: [ISSUER, SUBJECT.audience], acr: 'urn:twostep:acr:1' })
    t.equal(claims.exp - claims.iat, expiresIn)
    t.equal(await read('step', accessToken), null)
    const ids = Array.from(
      { length: 50 },
      () => decodeJwt(tokens.issueAccessToken(SUBJECT, PASSWORD).accessToken).jti
    )
    t.equal(new Set(ids).size, 50, 'every token has its own id')

    const [jwk] = signingKeys.jwks().keys
    const key = createPublicKey({ key: { ...jwk }, format: 'jwk' })
    const verified = await jwtVerify(accessToken, key, {
      issuer: ISSUER,
      audience: SUBJECT.audience,
      typ: 'at+jwt',
      algorithms: ['ES256'],
      currentDate: createClock().now()
    })
    t.equal(verified.protectedHeader.kid, jwk?.kid, 'and a host verifies it by the JWKS')
  }
)

t.test('a token is read until its last second', async (t) => {
  const { tokens, read, clock } = await startReader(t)
  const { stepToken, expiresInSeconds } = tokens.issueStepToken(SUBJECT, 'verify', PASSWORD)
  const { accessToken, expiresIn } = tokens.issueAccessToken(SUBJECT, PASSWORD)
  clock.advance({ seconds: expiresInSeconds - 1 })
  t.ok(await read('step', stepToken))
  clock.advance({ seconds: 1 })
  t.equal(await read('step', stepToken), null)
  clock.advance({ seconds: expiresIn - expiresInSeconds - 1 })
  t.ok(await read('access', accessToken))
  clock.advance({ seconds: 1 })
  t.equal(await read('access', accessToken), null)
})

t.test('null: a token of another issuer with the same keys', async (t) => {
  const table = createTable()
  const ours = await startReader(t, { table })
  const theirs = await startReader(t, { table, issuer: 'https://other.example.com' })
  const { stepToken } = theirs.tokens.issueStepToken(SUBJECT, 'verify', PASSWORD)
  const { accessToken } = theirs.tokens.issueAccessToken(SUBJECT, PASSWORD)
  t.ok(await theirs.read('step', stepToken))
  t.ok(await theirs.read('access', accessToken))
  t.equal(await ours.read('step', stepToken), null)
  t.equal(await ours.read('access', accessToken), null)
})

t.test('tokens that were issued before a rotation of the master keys are still read', async (t) => {
  const table = createTable()
  const before = await startReader(t, { table })
  const after = await startReader(t, { table, masterKeys: [KEY_2, KEY_1] })
  const without = createTable()
  const dropped = await startReader(t, { table: without, masterKeys: [KEY_2] })
  const { stepToken } = before.tokens.issueStepToken(SUBJECT, 'verify', PASSWORD)
  const { accessToken } = before.tokens.issueAccessToken(SUBJECT, PASSWORD)
  t.ok(await after.read('step', stepToken))
  t.ok(await after.read('access', accessToken))
  t.equal(
    await dropped.read('step', stepToken),
    null,
    'a ring without the old key does not read them'
  )
  const { stepToken: newer } = after.tokens.issueStepToken(SUBJECT, 'verify', PASSWORD)
  t.ok(await after.read('step', newer))
  t.equal(await before.read('step', newer), null)
})
