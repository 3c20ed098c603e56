// B1: sign in with e-mail and password, then a code from an authenticator app.
import { createRemoteJWKSet, exportJWK, generateKeyPair, jwtVerify, SignJWT } from 'jose'
import t, { type Test } from 'tap'
import { ISSUER, startApp } from '../support/app.ts'
import { isProblem } from '../support/problems.ts'

const PERIOD_SECONDS = 30

const service = await startApp(t, { listen: true })
const { call, clock, login, verify, enrolledUser, createAccount } = service

const later = (seconds: number) => new Date(clock.now().getTime() + seconds * 1000)

/** Verifies an access token as a host does, which knows only the URL of the service. */
async function readAsHost(accessToken: string, audience: string) {
  const jwks = createRemoteJWKSet(new URL(`${service.url}/.well-known/jwks.json`))
  return jwtVerify(accessToken, jwks, {
    issuer: ISSUER,
    audience,
    typ: 'at+jwt',
    algorithms: ['ES256'],
    currentDate: clock.now()
  })
}

t.test('a code finishes the sign-in, and a host can verify the access token', async (t) => {
  const account = await createAccount({ audience: 'https://api.acme.example' })
  const user = await enrolledUser({ account })

  const first = await login(user)
  t.equal(first.statusCode, 200)
  const { stepToken, ...rest } = first.json()
  t.type(stepToken, 'string')
  t.same(rest, {
    status: 'verification_required',
    reason: 'user_enabled',
    expiresInSeconds: 300,
    methods: ['totp', 'recovery_code']
  })

  clock.advance({ seconds: 20 })
  const second = await verify(stepToken, user.codeAt(clock.now()))
  t.equal(second.statusCode, 200)
  const { accessToken, ...signIn } = second.json()
  t.same(signIn, {
    status: 'authenticated',
    reason: 'code_verified',
    tokenType: 'Bearer',
    expiresIn: 900,
    user: { id: user.id, accountId: account.id, email: user.email, role: 'member' },
    recoveryCodesRemaining: 10
  })

  const { payload, protectedHeader } = await readAsHost(accessToken, account.audience)
  const now = clock.now().getTime() / 1000
  const { jti, epoch, ...claims } = payload
  t.match(jti, /^[0-9a-f]{8}-[0-9a-f]{4}-7/, 'an id of its own')
  t.type(epoch, 'number')
  t.same(claims, {
    iss: ISSUER,
    aud: [ISSUER, 'https://api.acme.example'],
    client_id: account.id,
    sub: user.id,
    account: account.id,
    role: 'member',
    email: user.email,
    amr: ['pwd', 'otp', 'mfa'],
    acr: 'urn:twostep:acr:2',
    auth_time: now,
    pwd_time: now - 20,
    iat: now,
    exp: now + 900
  })
  t.same(Object.keys(protectedHeader).sort(), ['alg', 'kid', 'typ'])
  t.match(protectedHeader, { alg: 'ES256', typ: 'at+jwt' })

  const me = await call('GET', '/v1/users/me', { as: accessToken })
  t.equal(me.statusCode, 200)
  t.match(me.json(), { id: user.id, lastSignInAt: clock.now().toISOString() })

  const stranger = await createAccount({ audience: 'https://api.other.example' })
  await t.rejects(readAsHost(accessToken, stranger.audience), {
    message: 'unexpected "aud" claim value'
  })
})

t.test('422: a used code is rejected, under a new step token too', async (t) => {
  const user = await enrolledUser()
  const code = user.nextCode()
  t.equal((await verify(await user.stepToken(), code)).statusCode, 200)
  isProblem(t, await verify(await user.stepToken(), code), 422, 'code-rejected')
})

t.test('422: the code that confirmed the app is rejected at a sign-in', async (t) => {
  const user = await enrolledUser()
  const confirmedWith = user.codeAt(later(-PERIOD_SECONDS))
  isProblem(t, await verify(await user.stepToken(), confirmedWith), 422, 'code-rejected')
})

t.test(
  'only the codes of the current, the previous and the next time step are accepted',
  async (t) => {
    for (const [steps, expected] of [
      [-2, 422],
      [-1, 200],
      [0, 200],
      [1, 200],
      [2, 422]
    ] as const) {
      const user = await enrolledUser()
      clock.advance({ minutes: 2 })
      const code = user.codeAt(later(steps * PERIOD_SECONDS))
      const answer = await verify(await user.stepToken(), code)
      t.equal(answer.statusCode, expected, `${steps} steps away`)
    }
  }
)

t.test('401: a step token is accepted only on the routes for its purpose', async (t) => {
  const user = await enrolledUser()
  const stepToken = await user.stepToken()
  for (const [method, path] of [
    ['GET', '/v1/users/me'],
    ['GET', '/v1/users'],
    ['GET', '/v1/policy'],
    ['POST', '/v1/enroll'],
    ['GET', '/v1/accounts']
  ] as const) {
    const answer = await call(method, path, {
      as: stepToken,
      ...(method === 'POST' && { body: {} })
    })
    isProblem(t, answer, 401, 'invalid-credential')
    t.equal(answer.headers['www-authenticate'], 'Bearer error="invalid_token"')
  }
})

t.test(
  '401: a step token is used up once the step succeeds, and expires after five minutes',
  async (t) => {
    const user = await enrolledUser()
    const usedUp = await user.stepToken()
    t.equal((await verify(usedUp, user.nextCode())).statusCode, 200)
    isProblem(t, await verify(usedUp, user.nextCode()), 401, 'invalid-credential')

    const forgotten = await user.stepToken()
    clock.advance({ seconds: 300 })
    isProblem(t, await verify(forgotten, user.nextCode()), 401, 'invalid-credential')
  }
)

t.test('401: an access token expires after fifteen minutes', async (t) => {
  const user = await enrolledUser()
  const accessToken = await user.accessToken()
  clock.advance({ seconds: 899 })
  t.equal((await call('GET', '/v1/users/me', { as: accessToken })).statusCode, 200)
  clock.advance({ seconds: 1 })
  isProblem(t, await call('GET', '/v1/users/me', { as: accessToken }), 401, 'invalid-credential')
})

t.test('401: an access token with the signature of another key is rejected', async (t) => {
  const user = await enrolledUser()
  const genuine = await user.accessToken()
  const { payload, protectedHeader } = await readAsHost(genuine, ISSUER)
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  const forge = (kid: string) =>
    new SignJWT(payload).setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid }).sign(privateKey)

  await expectRefused(t, await forge(String(protectedHeader.kid)))
  await expectRefused(t, await forge('unknown'))
  const jwk = await exportJWK(publicKey)
  const bringsItsKey = new SignJWT(payload)
    .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', jwk })
    .sign(privateKey)
  await expectRefused(t, await bringsItsKey)
})

async function expectRefused(t: Test, accessToken: string): Promise<void> {
  isProblem(t, await call('GET', '/v1/users/me', { as: accessToken }), 401, 'invalid-credential')
}
