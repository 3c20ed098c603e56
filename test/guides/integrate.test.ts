// Runs the programs in docs/integrate.md as they stand, against a service on a socket.
import { execFile, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'
import { decodeJwt, decodeProtectedHeader, importPKCS8, SignJWT } from 'jose'
import t from 'tap'
import { openSigningKeyRing } from '../../src/crypto/signing-key-ring.ts'
import { createSigningKeys } from '../../src/data/keys/signing-keys.ts'
import { ON_SERVER, PASSWORD, type SignIn, startApp } from '../support/app.ts'
import { createClock } from '../support/clock.ts'
import { writeProgram } from '../support/guides.ts'
import { CLIENT_ID, openIdentityProvider } from '../support/identity-provider.ts'
import { freePort } from '../support/processes.ts'

/** The exports of the page's module. */
interface BackEnd {
  addUser(email: string, password: string, externalId: string): Promise<string>
  addUserOnce(user: { email: string }, idempotencyKey: string): Promise<string>
  afterYourPasswordCheck(email: string, deviceToken?: string): Promise<SignIn>
  offerSingleSignOn(issuer: string, clientId: string): Promise<void>
  signInBySso(idToken: string, nonce: string): Promise<SignIn>
  claimsOf(accessToken: string): Promise<Record<string, unknown>>
  isActive(token: string): Promise<boolean>
  requireTwoFactor(): Promise<void>
  requireTwoFactorOf(userId: string, required: boolean): Promise<{ by: string } | null>
  signOutEverywhere(userId: string): Promise<unknown>
  resetTwoFactor(userId: string, reason: string): Promise<string>
}

const PYTHON = ['python3', '/usr/bin/python3'].find(
  (python) => spawnSync(python, ['-c', 'import jwt.algorithms, cryptography']).status === 0
)
const IN_PYTHON = { skip: PYTHON ? false : 'needs python3 with PyJWT and cryptography' }

const port = await freePort()
const url = `http://127.0.0.1:${port}`
// jose and PyJWT use the clock of the machine.
const service = await startApp(t, { clock: createClock(new Date()), env: { ISSUER: url } })
const { app, clock, config, database, call, createAccount, createUser, enrolledUser } = service
await app.listen({ port, host: '127.0.0.1' })
const account = await createAccount({ slug: 'acme' })

process.env['TWOSTEP_API_KEY'] = account.apiKey
process.env['TWOSTEP_AUDIENCE'] = account.audience
const page = 'integrate.md'
const backEnd: BackEnd = await import(
  await writeProgram(t.testdir(), { page, language: 'js', url })
)

t.test('twostep checks the password: the created user signs in', ON_SERVER, async (t) => {
  const id = await backEnd.addUser('grace@example.com', PASSWORD, 'crm-4711')
  const body = { account: account.slug, email: 'grace@example.com', password: PASSWORD }
  const signedIn = (await call('POST', '/v1/login', { body })).json()
  t.match(signedIn, { status: 'authenticated', user: { id } })
  await t.rejects(backEnd.addUser('grace@example.com', PASSWORD, 'crm-4711'), {
    code: 'email-taken'
  })
})

t.test('a repeated creation returns the user of the first one', ON_SERVER, async (t) => {
  const user = { email: 'once@example.com' }
  const id = await backEnd.addUserOnce(user, '8e03978e-40d5-43e8-bc93-6894a57f9324')
  t.equal(await backEnd.addUserOnce(user, '8e03978e-40d5-43e8-bc93-6894a57f9324'), id)
  await t.rejects(backEnd.addUserOnce(user, 'another key'), { code: 'email-taken' })
})

t.test(
  'your back end checks the password: the assertion leads to the second step',
  ON_SERVER,
  async (t) => {
    const { email } = await enrolledUser({ account })
    t.match(await backEnd.afterYourPasswordCheck(email), { status: 'verification_required' })
  }
)

t.test(
  'single sign-on: an ID token of the provider in the policy completes the sign-in',
  ON_SERVER,
  async (t) => {
    const provider = await openIdentityProvider(t)
    const { id, email } = await createUser({ account })
    await backEnd.offerSingleSignOn(provider.url, CLIENT_ID)
    const claims = { sub: 'them', email, email_verified: true, nonce: 'asked with' }
    const idToken = await provider.idToken(clock.now(), claims)
    const signedIn = await backEnd.signInBySso(idToken, 'asked with')
    t.match(signedIn, { status: 'authenticated', reason: 'sso_supersedes', user: { id } })
  }
)

t.test('the back end requires two-factor of one user, and signs them out', ON_SERVER, async (t) => {
  const user = await createUser({ account })
  t.match(await backEnd.requireTwoFactorOf(user.id, true), { by: 'admin' })
  t.match(await backEnd.afterYourPasswordCheck(user.email), { reason: 'user_required' })
  t.equal(await backEnd.requireTwoFactorOf(user.id, false), null)
  const signedIn = await backEnd.afterYourPasswordCheck(user.email)
  const token = 'accessToken' in signedIn ? signedIn.accessToken : ''
  t.equal(await backEnd.isActive(token), true)
  await backEnd.signOutEverywhere(user.id)
  t.equal(await backEnd.isActive(token), false)
})

t.test('the back end requires two-factor and resets a user', ON_SERVER, async (t) => {
  const user = await enrolledUser({ account })
  await backEnd.requireTwoFactor()
  t.equal(await backEnd.resetTwoFactor(user.id, 'Lost phone'), 'enrollment_required')
  t.match(await backEnd.afterYourPasswordCheck(user.email), { status: 'enrollment_required' })
})

t.test('an access token is accepted, all other tokens are rejected', ON_SERVER, async (t) => {
  const user = await enrolledUser({ account })
  const good = await user.accessToken()
  const bad = await wrongTokens(good, await user.stepToken())

  t.test('jose', async (t) => {
    t.match(await backEnd.claimsOf(good), { sub: user.id, acr: 'urn:twostep:acr:2' })
    for (const [name, token] of bad)
      await t.rejects(backEnd.claimsOf(token), { code: /^ERR_J/ }, name)
  })

  t.test('PyJWT', IN_PYTHON, async (t) => {
    const folder = t.testdir({ 'main.py': PYTHON_MAIN })
    await writeProgram(folder, { page, language: 'python', url })
    const tokens = [good, ...bad.map(([, token]) => token)]
    const { stdout } = await promisify(execFile)(PYTHON ?? '', ['main.py', ...tokens], {
      cwd: folder
    })
    const [accepted, ...rejected] = stdout.trim().split('\n')
    t.equal(accepted, user.id)
    t.equal(rejected.length, bad.length)
    for (const [index, [name]] of bad.entries()) t.match(rejected[index], /^rejected /, name)
  })

  t.test(
    'introspection reports an access token as inactive after its user is disabled',
    async (t) => {
      t.equal(await backEnd.isActive(good), true)
      await call('PATCH', `/v1/users/${user.id}`, {
        as: account.apiKey,
        body: { disabled: true }
      })
      t.equal(await backEnd.isActive(good), false)
      t.ok(
        await backEnd.claimsOf(good),
        'verification with the public keys cannot detect that the user is disabled'
      )
    }
  )
})

const PYTHON_MAIN = `
import sys
import jwt
from guide import claims_of

for token in sys.argv[1:]:
    try:
        print(claims_of(token)["sub"])
    except jwt.PyJWTError as error:
        print("rejected", error)
`

/** Returns tokens that a back end must reject, each with the reason. */
async function wrongTokens(good: string, stepToken: string): Promise<[name: string, string][]> {
  const [claims, header] = [decodeJwt(good), decodeProtectedHeader(good)]
  const stranger = await enrolledUser({ account: await createAccount() })
  const signingKeys = await openSigningKeyRing({
    stored: createSigningKeys(database.prisma),
    masterKeys: config.masterKeys,
    now: clock.now
  })
  const key = await importPKCS8(signingKeys.current().privateKeyPem, 'ES256')
  const signed = (changed: object, typ = 'at+jwt') =>
    new SignJWT({ ...claims, ...changed })
      .setProtectedHeader({ ...header, alg: 'ES256', typ })
      .sign(key)
  const [, payload, signature] = good.split('.')
  const unsigned = Buffer.from(JSON.stringify({ ...header, alg: 'none' })).toString('base64url')
  return [
    ['a step token', stepToken],
    ['an access token of another account', await stranger.accessToken()],
    ['another typ', await signed({}, 'JWT')],
    ['another issuer', await signed({ iss: 'https://else.example.com' })],
    ['an expired token', await signed({ exp: 1 })],
    ['a token that never expires', await signed({ exp: undefined })],
    ['no signature', `${unsigned}.${payload}.`],
    [
      'the signature of another token',
      `${(await signed({ sub: 'me' })).replace(/[^.]*$/, '')}${signature}`
    ]
  ]
}
