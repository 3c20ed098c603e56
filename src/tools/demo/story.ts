// The steps of the demo, in the order in which they happen in a real account. Every HTTP request is real.
import type { SignIn } from '../../wire/sign-in.ts'
import { type Jwks, verifyAccessToken } from './access-token.ts'
import type { Call, Calls, Print } from './calls.ts'
import type { Deployment } from './deployment.ts'
import { paint } from './paint.ts'
import type { Phone, SetUp } from './phone.ts'

interface Story {
  deployment: Deployment
  calls: Calls
  phone: Phone
  print: Print
}

interface NewAccount {
  slug: string
  audience: string
  apiKey: { key: string }
}

type Authenticated = Extract<SignIn, { status: 'authenticated' }>
type StepDue = Exclude<SignIn, Authenticated>

const ADA = { email: 'ada@acme.example', password: 'correct horse battery staple' }

/** Plays all steps. Throws if a response has an unexpected status. */
export async function playStory(story: Story): Promise<void> {
  const { print } = story
  const begin = createChapters(print)

  begin('The operator creates an account for a customer organisation')
  const account = await createAccount(story)

  begin('The back end of the account creates a user and requires two-factor for all users')
  await createUser(story, account)
  await changeTwoFactor(story, account, 'required')

  begin('Ada signs in for the first time: her password leads to the set-up')
  const setUpStep = await login(story, account, 'enrollment_required')
  const code = await enroll(story, setUpStep)

  begin('She signs in again: the password, then a code')
  const step = await login(story, account, 'verification_required')
  await replay(story, step, code)
  const { accessToken, user } = await verify(story, step)

  begin('The host verifies her access token, and needs only the public keys')
  await readAccessToken(story, account, accessToken)

  begin('Ada loses her phone. The back end resets her, and her next sign-in leads to a new set-up')
  await reset(story, account, user)
  await login(story, account, 'enrollment_required')
  print('\n   A reset leads to a new set-up, although two-factor is optional now.')

  print(
    `\n${paint(['bold', 'green'], 'That is the whole sign-in.')} For the API reference, run npm start and open /docs.\n`
  )
}

function createChapters(print: Print) {
  let chapters = 0
  return (title: string) => {
    chapters += 1
    print(`\n${paint('bold', `${chapters}. ${title}`)}`)
  }
}

async function createAccount({ calls, deployment }: Story): Promise<NewAccount> {
  const { body } = await calls.expect<NewAccount>(201, {
    method: 'POST',
    path: '/v1/accounts',
    bearer: deployment.operatorKey,
    body: { slug: 'acme', name: 'Acme Inc.' }
  })
  return body
}

async function createUser({ calls }: Story, { apiKey }: NewAccount): Promise<void> {
  await calls.expect(201, {
    method: 'POST',
    path: '/v1/users',
    bearer: apiKey.key,
    body: ADA
  })
}

async function changeTwoFactor(
  { calls }: Story,
  { apiKey }: NewAccount,
  twoFactor: 'optional' | 'required'
): Promise<void> {
  const policy = { path: '/v1/policy', bearer: apiKey.key }
  const { headers } = await calls.expect(200, { method: 'GET', ...policy })
  await calls.expect(200, {
    method: 'PATCH',
    ...policy,
    headers: { 'if-match': headers.get('etag') ?? '' },
    body: { twoFactor }
  })
}

/** Makes two-factor optional again, and then resets the user: a reset does not need a strict policy. */
async function reset(
  story: Story,
  account: NewAccount,
  { id }: Authenticated['user']
): Promise<void> {
  await changeTwoFactor(story, account, 'optional')
  await story.calls.expect(200, {
    method: 'POST',
    path: `/v1/users/${id}/reset`,
    bearer: account.apiKey.key,
    body: { reason: 'Lost phone' }
  })
}

async function login(
  { calls }: Story,
  { slug }: NewAccount,
  due: StepDue['status']
): Promise<StepDue> {
  const { body } = await calls.expect<SignIn>(200, {
    method: 'POST',
    path: '/v1/login',
    body: { account: slug, ...ADA }
  })
  if (body.status === 'authenticated' || body.status !== due) {
    throw new Error(`the login returned ${body.status} instead of ${due}`)
  }
  return body
}

/** Sets up the phone. Returns the code that confirmed the set-up. */
async function enroll(story: Story, { stepToken }: StepDue): Promise<string> {
  const { calls, phone, print } = story
  const { body } = await calls.expect<SetUp & { authenticatorId: string }>(201, {
    method: 'POST',
    path: '/v1/enroll',
    bearer: stepToken,
    body: { name: 'Phone' }
  })
  await phone.scan(body)
  const { code, answer } = await sendCode(story, (code) => ({
    method: 'POST',
    path: '/v1/enroll/confirm',
    bearer: stepToken,
    body: { authenticatorId: body.authenticatorId, code }
  }))
  print('\n   Ten recovery codes, in case the phone is lost. They are shown only now:\n')
  for (const recoveryCode of answer.recoveryCodes ?? []) print(`   ${recoveryCode}`)
  return code
}

async function replay(
  { calls, print }: Story,
  { stepToken }: StepDue,
  code: string
): Promise<void> {
  print('\n   An attacker who saw the code from the set-up tries it again:')
  await calls.expect(422, {
    method: 'POST',
    path: '/v1/verify',
    bearer: stepToken,
    body: { code }
  })
  print('\n   Each code works once. Wait until the app shows the next one.')
}

async function verify(story: Story, { stepToken }: StepDue): Promise<Authenticated> {
  const { answer } = await sendCode(story, (code) => ({
    method: 'POST',
    path: '/v1/verify',
    bearer: stepToken,
    body: { code }
  }))
  return answer
}

/** Reads a code from the phone and sends it. After a wrong code (422) it reads another one. */
async function sendCode(
  { calls, phone, print }: Story,
  callWith: (code: string) => Call
): Promise<{ code: string; answer: Authenticated }> {
  for (;;) {
    const code = await phone.readCode()
    const call = callWith(code)
    const { status, body } = await calls.make<Authenticated & { detail?: string }>(call)
    if (status === 200) return { code, answer: body }
    if (status !== 422) throw new Error(`${call.path} returned ${status}: ${body.detail}`)
    print(`\n   ${paint('yellow', body.detail ?? 'The code was rejected.')}`)
  }
}

async function readAccessToken(
  { calls, deployment, print }: Story,
  { audience }: NewAccount,
  accessToken: string
): Promise<void> {
  const { body } = await calls.expect<Jwks & Record<string, unknown>>(200, {
    method: 'GET',
    path: '/.well-known/jwks.json'
  })
  const claims = verifyAccessToken(accessToken, body, { issuer: deployment.url, audience })
  print('\n   Signature, type, issuer, audience and expiry are valid. Its claims:\n')
  for (const [name, value] of Object.entries(claims)) {
    print(`   ${name.padEnd(10)} ${JSON.stringify(value)}`)
  }
}
