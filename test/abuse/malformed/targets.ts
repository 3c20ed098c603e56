// What the tests of malformed requests share: every route that takes a body, with a credential and a valid body.
import type { Test } from 'tap'
import { OPERATOR_KEY, PASSWORD, startApp } from '../../support/app.ts'
import type { Answer } from '../../support/calls.ts'
import { isProblem } from '../../support/problems.ts'

export const UUID = '0198c0de-7a51-7cc2-9a3b-5b1d0c4f2e11'
export const JSON_TYPE = 'application/json'
const REFUSAL_CODES = [
  'invalid-request',
  'not-found',
  'user-not-found',
  'account-not-found',
  'body-too-large',
  'unsupported-media-type'
]

export interface Route {
  method: 'POST' | 'PATCH' | 'PUT'
  path: string
  as?: string
  /** A valid body. */
  body: Record<string, unknown>
  headers?: Record<string, string>
  /** The media types that the route reads in addition to JSON. */
  reads?: string[]
  /** Whether the route accepts a request without a body. */
  isBodyOptional?: true
}

/** Starts the service, with the routes and the users whose credentials they take. */
export async function startWithTargets(t: Test) {
  const service = await startApp(t)
  const { clock, createAccount, createUser, database, enrolledUser, assertedToken, verify } =
    service
  const account = await createAccount()
  const { apiKey } = account
  const admin = await enrolledUser({ account, role: 'admin' })
  const user = await createUser({ account })
  const stepToken = await admin.stepToken()
  const newcomer = await assertedToken(await createUser({ account }))
  const self = await admin.accessToken()

  const routes: Route[] = [
    {
      method: 'POST',
      path: '/v1/login',
      body: { account: 'acme', email: 'ada@example.com', password: PASSWORD, deviceToken: 'x' }
    },
    {
      method: 'POST',
      path: '/v1/login/assertion',
      as: apiKey,
      body: { userId: UUID, firstFactor: 'pwd', deviceToken: 'x' }
    },
    {
      method: 'POST',
      path: '/v1/login/assertion',
      as: apiKey,
      body: { email: 'ada@example.com', firstFactor: 'sso' }
    },
    {
      method: 'POST',
      path: '/v1/verify',
      as: stepToken,
      body: { code: '123456', rememberDevice: true }
    },
    { method: 'POST', path: '/v1/verify', as: self, body: { recoveryCode: 'AAAA-BBBB' } },
    {
      method: 'POST',
      path: '/v1/enroll',
      as: newcomer,
      body: { name: 'Phone', replaces: UUID, qr: 'png' },
      isBodyOptional: true
    },
    {
      method: 'POST',
      path: '/v1/enroll/confirm',
      as: newcomer,
      body: { authenticatorId: UUID, code: '123456' }
    },
    {
      method: 'POST',
      path: '/v1/users',
      as: apiKey,
      body: { email: 'new@example.com', password: PASSWORD, role: 'member', externalId: 'x' }
    },
    {
      method: 'PATCH',
      path: `/v1/users/${user.id}`,
      as: apiKey,
      body: { email: 'new@example.com', password: PASSWORD, role: 'member', disabled: false }
    },
    {
      method: 'PATCH',
      path: '/v1/users/me',
      as: self,
      body: { password: 'another good password', currentPassword: PASSWORD }
    },
    {
      method: 'PATCH',
      path: `/v1/users/me/authenticators/${admin.authenticatorId}`,
      as: self,
      body: { name: 'Phone' }
    },
    {
      method: 'PUT',
      path: `/v1/users/${user.id}/sso-identities`,
      as: apiKey,
      body: { subject: '248289761001', issuer: 'https://login.acme.example' }
    },
    {
      method: 'PATCH',
      path: '/v1/policy',
      as: apiKey,
      headers: { 'if-match': '"0"' },
      body: { twoFactor: 'optional' },
      reads: ['application/merge-patch+json']
    },
    {
      method: 'POST',
      path: '/v1/accounts',
      as: OPERATOR_KEY,
      body: { slug: 'new', name: 'New', audience: 'https://api.new.example' }
    },
    {
      method: 'PATCH',
      path: `/v1/accounts/${account.id}`,
      as: OPERATOR_KEY,
      body: { name: 'New', audience: 'https://api.new.example' }
    },
    {
      method: 'POST',
      path: '/v1/api-keys',
      as: apiKey,
      body: {
        name: 'New',
        scopes: ['users:read'],
        expiresAt: '2030-01-01T00:00:00Z',
        accountId: UUID
      }
    },
    {
      method: 'POST',
      path: '/v1/introspect',
      as: apiKey,
      body: { token: 'x' },
      reads: ['application/x-www-form-urlencoded']
    }
  ]

  /** Asserts that no request has spent an attempt or locked the user. The next wrong code is the first to count. */
  async function isNothingSpent(t: Test): Promise<void> {
    const where = { id: admin.id }
    const select = { codeFailures: true, recoveryFailures: true, codeLockedUntil: true }
    const failures = await database.prisma.user.findFirstOrThrow({ where, select })
    t.same(failures, { codeFailures: 0, recoveryFailures: 0, codeLockedUntil: null })
    const unused = { userId: admin.id, consumedAt: null }
    t.equal(await database.prisma.stepToken.count({ where: unused }), 0)
    const wrong = admin.codeAt(new Date(clock.now().getTime() + 86_400_000))
    const first = isProblem(t, await verify(stepToken, wrong), 422, 'code-rejected')
    t.equal(first['attemptsRemaining'], 4, 'the first to count')
  }

  return { ...service, account, apiKey, user, stepToken, newcomer, self, routes, isNothingSpent }
}

/** Asserts that a request is refused as malformed, with nothing internal in the response. */
export function isRefused(t: Test, answer: Answer, status: number | number[], what: string): void {
  t.ok(answer.statusCode < 500, what)
  const document = isProblem(t, answer, status, REFUSAL_CODES)
  t.notMatch(
    document['detail'],
    /Fastify|FST_|Prisma|SyntaxError|node:|[/]src[/]/,
    'nothing internal'
  )
}
