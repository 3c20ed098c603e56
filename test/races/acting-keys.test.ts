// An API key that is revoked, expires or loses a scope while a request waits does not act. The write judges the key.
import t from 'tap'
import { SCOPES } from '../../src/core/bearer-keys.ts'
import { CONTRACT } from '../abuse/credential-contract.ts'
import {
  ON_SERVER,
  OPERATOR_KEY,
  startTwoApps,
  type TestAccount,
  type TestApp,
  type TestUser
} from '../support/app.ts'
import { verdictOf } from '../support/guesses.ts'
import { sendHeld } from '../support/held-bodies.ts'
import { untilLockWaits } from '../support/lock-waits.ts'

/** The credential has been read by then, on all but the slowest machines. The test would not notice otherwise. */
const HELD_MS = 60
const SSO = { mode: 'optional', issuer: 'https://login.acme.example', clientId: 'twostep' } as const

interface Act {
  path: string
  body?: object
  headers?: Record<string, string>
}

/** Returns the acts of API keys on a user of the account, by route. */
async function actsOn(app: TestApp, user: TestUser, account: TestAccount) {
  const path = `/v1/users/${user.id}`
  const as = account.apiKey
  const link = await app.call('PUT', `${path}/sso-identities`, { as, body: { subject: user.id } })
  const body = { accountId: account.id, name: 'other', scopes: ['users:read'] }
  const other = await app.call('POST', '/v1/api-keys', { as: OPERATOR_KEY, body })
  const acts: Record<string, Act> = {
    'POST /v1/login/assertion': {
      path: '/v1/login/assertion',
      body: { userId: user.id, firstFactor: 'sso' }
    },
    'POST /v1/users': { path: '/v1/users', body: { email: `new-${user.email}` } },
    'PATCH /v1/users/:userId': { path, body: { externalId: 'crm-1' } },
    'DELETE /v1/users/:userId': { path },
    'PUT /v1/users/:userId/two-factor': { path: `${path}/two-factor`, body: { required: true } },
    'POST /v1/users/:userId/sign-out': { path: `${path}/sign-out`, body: {} },
    'PUT /v1/users/:userId/sso-identities': {
      path: `${path}/sso-identities`,
      body: { subject: 'other' }
    },
    'DELETE /v1/users/:userId/sso-identities/:identityId': {
      path: `${path}/sso-identities/${link.json().id}`
    },
    'POST /v1/users/:userId/reset': { path: `${path}/reset`, body: { reason: 'lost' } },
    'PATCH /v1/policy': {
      path: '/v1/policy',
      body: { twoFactor: 'required' },
      headers: { 'if-match': '*' }
    },
    'POST /v1/api-keys': { path: '/v1/api-keys', body: { name: 'child', scopes: ['users:read'] } },
    'DELETE /v1/api-keys/:apiKeyId': { path: `/v1/api-keys/${other.json().id}` }
  }
  return acts
}

/** These write nothing that a key decides. */
const NO_WRITES = ['POST /v1/introspect', 'POST /v1/policy/preview']

t.test('every act of an API key', ON_SERVER, async (t) => {
  const [first, second] = await startTwoApps(t, { listen: true })
  const { clock, database } = first
  const { prisma } = database

  async function home() {
    const account = await first.createAccount()
    await first.changePolicy(account, { sso: SSO })
    const user = await first.enrolledUser({ account })
    return { account, acts: await actsOn(first, user, account) }
  }

  /** Creates a key with every scope, which expires in an hour. */
  async function keyOf({ id: accountId }: TestAccount): Promise<{ id: string; key: string }> {
    const expiresAt = new Date(clock.now().getTime() + 3_600_000).toISOString()
    const body = { accountId, name: 'acting', scopes: SCOPES, expiresAt }
    return (await first.call('POST', '/v1/api-keys', { as: OPERATOR_KEY, body })).json()
  }

  /** Returns what the account holds, without the use of its keys and the audit trail. */
  async function stateOf({ id }: TestAccount): Promise<string> {
    const where = { accountId: id }
    const keys = await prisma.apiKey.findMany({ where, omit: { lastUsedAt: true } })
    return JSON.stringify([
      keys.filter(({ name }) => name !== 'acting'),
      await prisma.user.findMany({ where }),
      await prisma.policy.findMany({ where }),
      await prisma.ssoIdentity.findMany({ where }),
      await prisma.authenticator.findMany({ where })
    ])
  }

  function held(app: TestApp, route: string, act: Act, key: string, meanwhile: () => unknown) {
    const [method = ''] = route.split(' ')
    const body = JSON.stringify(act.body)
    const request = { method, as: key, headers: act.headers, body, heldMs: HELD_MS }
    return sendHeld(app.url + act.path, request, meanwhile)
  }

  await t.test('the table has every route on which an API key writes', async (t) => {
    const { acts } = await home()
    const writing = Object.entries(CONTRACT)
      .filter(([route, taken]) => !route.startsWith('GET') && taken !== 'everyone' && taken.scopes)
      .map(([route]) => route)
    t.same([...Object.keys(acts), ...NO_WRITES].sort(), writing.sort())
  })

  await t.test('401: a key that is being revoked on the other replica', async (t) => {
    const { account, acts } = await home()
    const before = await stateOf(account)
    for (const [route, { path, body, headers = {} }] of Object.entries(acts)) {
      const { id, key } = await keyOf(account)
      const sent = await prisma.$transaction(async (transaction) => {
        await transaction.apiKey.deleteMany({ where: { id } })
        const [method = ''] = route.split(' ')
        const pending = second.call(method, path, { as: key, headers, ...(body && { body }) })
        await untilLockWaits(database, 1, [pending])
        // In an array, because a returned promise would be awaited here.
        return [pending]
      })
      for (const answer of await Promise.all(sent))
        t.equal(verdictOf(answer), '401 invalid-credential', route)
    }
    t.equal(await stateOf(account), before, 'nothing has changed')
  })

  await t.test('401, 403: a key that loses its rights while the body is held back', async (t) => {
    const { account, acts } = await home()
    const before = await stateOf(account)
    for (const [route, act] of Object.entries(acts)) {
      if (!act.body) continue
      const revoked = await keyOf(account)
      const revoke = () => second.call('DELETE', `/v1/api-keys/${revoked.id}`, { as: OPERATOR_KEY })
      t.equal(await held(first, route, act, revoked.key, revoke), '401 invalid-credential', route)
      const expired = await keyOf(account)
      const expire = () => clock.advance({ seconds: 3600 })
      t.equal(await held(first, route, act, expired.key, expire), '401 invalid-credential', route)
      const lesser = await keyOf(account)
      const lessen = () =>
        prisma.apiKey.updateMany({ where: { id: lesser.id }, data: { scopes: ['users:read'] } })
      t.equal(await held(first, route, act, lesser.key, lessen), '403 insufficient-scope', route)
    }
    t.equal(await stateOf(account), before, 'nothing has changed')
  })

  await t.test('204, 401: two keys that revoke each other do not deadlock', async (t) => {
    const { account } = await home()
    for (let round = 0; round < 5; round += 1) {
      const keys = [await keyOf(account), await keyOf(account)]
      const answers = await Promise.all(
        keys.map(({ key }, index) => {
          const app = index === 0 ? first : second
          return app.call('DELETE', `/v1/api-keys/${keys[1 - index]?.id}`, { as: key })
        })
      )
      t.same(answers.map(verdictOf).sort(), ['204', '401 invalid-credential'])
    }
    const { id, key } = await keyOf(account)
    const itself = await first.call('DELETE', `/v1/api-keys/${id}`, { as: key })
    t.equal(itself.statusCode, 204, 'a key revokes itself')
  })
})
