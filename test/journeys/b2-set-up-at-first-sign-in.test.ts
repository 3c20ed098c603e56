// B2: where two-factor is required, the first sign-in leads to a QR code that belongs to this user only. Scanning it and
// entering the code finishes the sign-in. The test is a front end with the client that openapi.yaml generates.
import { createRemoteJWKSet, jwtVerify } from 'jose'
import t from 'tap'
import { ISSUER, OPERATOR_KEY, PASSWORD, type SignIn, startApp } from '../support/app.ts'
import { isProblem } from '../support/problems.ts'
import { readQrCode } from '../support/qr.ts'

const service = await startApp(t, { listen: true })
const { client, clock, codeAt, createAccount, createUser, changePolicy, enroll, confirm } = service

/** Returns the body of a successful response. */
function dataOf<Data>({ data, error }: { data?: Data; error?: unknown }): Data {
  if (data === undefined) throw new Error(JSON.stringify(error))
  return data
}

/** Returns the result of a step, narrowed to the status that it must have. */
function inStatus<Status extends SignIn['status']>(status: Status, answer: { data?: SignIn }) {
  const signIn = dataOf(answer)
  if (signIn.status !== status) throw new Error(`${signIn.status} instead of ${status}`)
  return signIn as Extract<SignIn, { status: Status }>
}

const bearer = (credential: string) => ({ headers: { authorization: `Bearer ${credential}` } })

t.test('a new user sets up two-factor at the first sign-in, over a real socket', async (t) => {
  const account = dataOf(
    await client.POST('/v1/accounts', {
      ...bearer(OPERATOR_KEY),
      body: { slug: 'globex', name: 'Globex: Berlin' }
    })
  )
  const asBackEnd = bearer(account.apiKey.key)
  const user = dataOf(
    await client.POST('/v1/users', {
      ...asBackEnd,
      body: { email: 'Ada@Example.com', password: PASSWORD }
    })
  )
  t.match(user, { email: 'ada@example.com', twoFactor: { state: 'disabled', required: false } })

  const policy = await client.GET('/v1/policy', asBackEnd)
  const required = await client.PATCH('/v1/policy', {
    headers: { ...asBackEnd.headers, 'if-match': policy.response.headers.get('etag') ?? '' },
    body: { twoFactor: 'required' }
  })
  t.equal(required.data?.effective, 'required')

  const credentials = { account: 'globex', email: 'ada@example.com', password: PASSWORD }
  const first = inStatus(
    'enrollment_required',
    await client.POST('/v1/login', { body: credentials })
  )
  t.same(Object.keys(first).sort(), ['expiresInSeconds', 'reason', 'status', 'stepToken'])
  t.match(first, { reason: 'account_required', expiresInSeconds: 600 })

  const asNewcomer = bearer(first.stepToken)
  const setUp = dataOf(await client.POST('/v1/enroll', { ...asNewcomer, body: { qr: 'png' } }))
  const { hostname, protocol, pathname, searchParams } = new URL(readQrCode(setUp.qrCode))
  t.same([protocol, hostname], ['otpauth:', 'totp'])
  t.equal(decodeURIComponent(pathname), '/Globex Berlin:ada@example.com')
  t.equal(searchParams.get('issuer'), 'Globex Berlin')
  t.equal(readQrCode(setUp.qrCode), setUp.otpauthUri)
  t.match(setUp, {
    issuer: 'Globex Berlin',
    accountName: 'ada@example.com',
    algorithm: 'SHA1',
    digits: 6,
    period: 30,
    expiresAt: new Date(clock.now().getTime() + 600_000).toISOString()
  })
  const secret = searchParams.get('secret') ?? ''
  t.match(secret, /^[A-Z2-7]{32}$/, '160 bits')

  const { data: pending } = await client.GET('/v1/users/{userId}', {
    ...asBackEnd,
    params: { path: { userId: user.id } }
  })
  t.equal(pending?.twoFactor.state, 'pending', 'nothing is active yet')

  const confirmed = inStatus(
    'authenticated',
    await client.POST('/v1/enroll/confirm', {
      ...asNewcomer,
      body: { authenticatorId: setUp.authenticatorId, code: codeAt(secret, clock.now()) }
    })
  )
  t.match(confirmed, {
    reason: 'enrolled',
    tokenType: 'Bearer',
    expiresIn: 900,
    user: { id: user.id, accountId: account.id, email: 'ada@example.com', role: 'member' },
    recoveryCodesRemaining: 10
  })
  t.equal(new Set(confirmed.recoveryCodes).size, 10, 'ten recovery codes')

  const second = inStatus(
    'verification_required',
    await client.POST('/v1/login', { body: credentials })
  )
  clock.advance({ seconds: 30 })
  const code = codeAt(secret, clock.now())
  const asReturning = bearer(second.stepToken)
  const verified = inStatus(
    'authenticated',
    await client.POST('/v1/verify', { ...asReturning, body: { code } })
  )
  t.equal(verified.reason, 'code_verified')
  t.equal(verified.recoveryCodes, undefined, 'shown only once')

  const jwks = createRemoteJWKSet(new URL(`${service.url}/.well-known/jwks.json`))
  for (const [{ accessToken }, at] of [
    [confirmed, clock.now().getTime() / 1000 - 30],
    [verified, clock.now().getTime() / 1000]
  ] as const) {
    const { payload } = await jwtVerify(accessToken, jwks, {
      issuer: ISSUER,
      audience: `urn:twostep:account:${account.id}`,
      typ: 'at+jwt',
      currentDate: clock.now()
    })
    t.match(payload, {
      aud: [ISSUER, account.audience],
      client_id: account.id,
      sub: user.id,
      amr: ['pwd', 'otp', 'mfa'],
      acr: 'urn:twostep:acr:2',
      auth_time: at
    })
  }

  const { data: me } = await client.GET('/v1/users/{userId}', {
    ...bearer(verified.accessToken),
    params: { path: { userId: 'me' } }
  })
  t.match(me, {
    id: user.id,
    lastSignInAt: clock.now().toISOString(),
    twoFactor: { state: 'enabled', authenticators: 1, required: true, reason: 'account_required' }
  })

  const replay = await client.POST('/v1/verify', { ...asReturning, body: { code } })
  t.equal(replay.response.status, 401, 'the step token is used up')
  const third = inStatus(
    'verification_required',
    await client.POST('/v1/login', { body: credentials })
  )
  const again = await client.POST('/v1/verify', { ...bearer(third.stepToken), body: { code } })
  t.equal(again.response.status, 422)
  t.match(again.error, { code: 'code-rejected', attemptsRemaining: 4 })
})

t.test('two users never get the same key', async (t) => {
  const account = await createAccount()
  await changePolicy(account, { twoFactor: 'required' })
  const users = await Promise.all([1, 2, 3].map(() => createUser({ account })))
  const keys = await Promise.all(
    users.map(async (user) => {
      const answer = await enroll(await service.assertedToken(user))
      return answer.json().setupKey
    })
  )
  t.equal(new Set(keys).size, 3)
})

t.test('401: the step token of a set-up is accepted only for the set-up', async (t) => {
  const account = await createAccount()
  await changePolicy(account, { twoFactor: 'required' })
  const stepToken = await service.assertedToken(await createUser({ account }))
  const elsewhere = [
    await service.call('GET', '/v1/users/me', { as: stepToken }),
    await service.call('GET', '/v1/policy', { as: stepToken }),
    await service.verify(stepToken, '123456')
  ]
  for (const answer of elsewhere) isProblem(t, answer, 401, 'invalid-credential')
})

t.test('a new set-up discards an unconfirmed one', async (t) => {
  const account = await createAccount()
  await changePolicy(account, { twoFactor: 'required' })
  const stepToken = await service.assertedToken(await createUser({ account }))
  const [lost, kept] = [(await enroll(stepToken)).json(), (await enroll(stepToken)).json()]
  const lostCode = codeAt(lost.setupKey, clock.now())
  isProblem(
    t,
    await confirm(stepToken, lost.authenticatorId, lostCode),
    404,
    'enrollment-not-found'
  )
  const keptCode = codeAt(kept.setupKey, clock.now())
  isProblem(t, await confirm(stepToken, kept.authenticatorId, lostCode), 422, 'code-rejected')
  t.equal((await confirm(stepToken, kept.authenticatorId, keptCode)).statusCode, 200)
  isProblem(t, await enroll(stepToken), 401, 'invalid-credential')
})

t.test('410: a set-up expires after ten minutes or ten wrong codes', async (t) => {
  const user = await createUser()
  const wrongCode = (secret: string) => codeAt(secret, new Date(clock.now().getTime() + 86_400_000))

  const tried = await service.assertedToken(user)
  const first = (await enroll(tried)).json()
  for (const attemptsRemaining of [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]) {
    const answer = await confirm(tried, first.authenticatorId, wrongCode(first.setupKey))
    t.match(isProblem(t, answer, 422, 'code-rejected'), { attemptsRemaining })
  }
  const right = () => codeAt(first.setupKey, clock.now())
  isProblem(t, await confirm(tried, first.authenticatorId, right()), 410, 'enrollment-expired')

  const slow = await service.assertedToken(user)
  const second = (await enroll(slow)).json()
  clock.advance({ minutes: 10 })
  const stillValid = await service.assertedToken(user)
  const late = codeAt(second.setupKey, clock.now())
  isProblem(t, await confirm(stillValid, second.authenticatorId, late), 410, 'enrollment-expired')
  t.equal((await service.login(user)).json().status, 'authenticated', 'nothing is locked')
})
