// The story, in the order in which it happens to a real account. Every line of HTTP in it is real.
import type { SignIn } from '../../wire/sign-in.ts'
import { type Jwks, verifyAccessToken } from './access-token.ts'
import type { Call, Calls, Print } from './calls.ts'
import type { Deployment } from './deployment.ts'
import { paint } from './paint.ts'
import type { Phone, SetUp } from './phone.ts'

export interface Story {
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

/** Tells it to the end, or throws where an answer is not the one it should be. */
export async function tell(story: Story): Promise<void> {
  const { print } = story
  const begin = createChapters(print)

  begin('The operator makes an account for a customer organisation')
  const account = await createAccount(story)

  begin('The back end of that account makes a user, and requires two-factor of everyone')
  await createUser(story, account)
  await requireTwoFactor(story, account)

  begin('Ada signs in for the first time: her password leads to the set-up')
  const setUpStep = await login(story, account, 'enrollment_required')
  const code = await enroll(story, setUpStep)

  begin('She signs in again: the password, then a code')
  const step = await login(story, account, 'verification_required')
  await replay(story, step, code)
  const { accessToken } = await verify(story, step)

  begin('Her access token is good for the host, which needs nothing but the public keys')
  await readAccessToken(story, account, accessToken)

  print(
    `\n${paint(['bold', 'green'], 'That was all of it.')} The API has a page: npm start, then /docs.\n`
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

async function requireTwoFactor({ calls }: Story, { apiKey }: NewAccount): Promise<void> {
  const policy = { path: '/v1/policy', bearer: apiKey.key }
  const { headers } = await calls.expect(200, { method: 'GET', ...policy })
  await calls.expect(200, {
    method: 'PATCH',
    ...policy,
    headers: { 'if-match': headers.get('etag') ?? '' },
    body: { twoFactor: 'required' }
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
    throw new Error(`the password should lead to ${due}, and led to ${body.status}`)
  }
  return body
}

/** Sets the phone up and answers the code that confirmed it. */
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
  print('\n   Ten recovery codes, shown only now: for the day on which the phone is lost.\n')
  for (const recoveryCode of answer.recoveryCodes ?? []) print(`   ${recoveryCode}`)
  return code
}

async function replay(
  { calls, print }: Story,
  { stepToken }: StepDue,
  code: string
): Promise<void> {
  print('\n   The code from the set-up once more, as somebody who looked over her shoulder would:')
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

/** Asks for a code and sends it; a wrong one is answered 422 and may be followed by another. */
async function sendCode(
  { calls, phone, print }: Story,
  callWith: (code: string) => Call
): Promise<{ code: string; answer: Authenticated }> {
  for (;;) {
    const code = await phone.readCode()
    const call = callWith(code)
    const { status, body } = await calls.make<Authenticated & { detail?: string }>(call)
    if (status === 200) return { code, answer: body }
    if (status !== 422) throw new Error(`${call.path} answered ${status}: ${body.detail}`)
    print(`\n   ${paint('yellow', body.detail ?? 'This code is not good.')}`)
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
  print('\n   Signature, type, issuer, audience and expiry are right. It says:\n')
  for (const [name, value] of Object.entries(claims)) {
    print(`   ${name.padEnd(10)} ${JSON.stringify(value)}`)
  }
}
