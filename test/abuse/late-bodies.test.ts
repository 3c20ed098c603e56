// S11: a credential that is revoked while the body of its request is still arriving is rejected.
import t from 'tap'
import { startApp, type TestUser } from '../support/app.ts'
import { sendHeld } from '../support/held-bodies.ts'
import { actsOn } from '../support/records.ts'

const LATE_MS = 100
const service = await startApp(t, { listen: true, timeouts: { lateBodyMs: LATE_MS } })
const { call, createAccount, createUser, enrolledUser } = service
const account = await createAccount()
await createUser({ account, role: 'admin' })
const member = await enrolledUser({ account })

/** A body that is held back so long is late. */
const HELD_MS = 2 * LATE_MS

interface Held {
  as: string
  headers?: Record<string, string>
  body: string
}

function held(method: string, path: string, request: Held, meanwhile: () => Promise<unknown>) {
  return sendHeld(service.url + path, { method, ...request, heldMs: HELD_MS }, meanwhile)
}

function change(user: TestUser, body: object) {
  return call('PATCH', `/v1/users/${user.id}`, { as: account.apiKey, body })
}

async function admin() {
  const user = await enrolledUser({ account, role: 'admin' })
  return { user, as: await user.accessToken() }
}

t.test('401: an admin who is disabled during the request cannot change the policy', async (t) => {
  const { user, as } = await admin()
  const patch = { as, headers: { 'if-match': '*' }, body: '{"twoFactor":"required"}' }
  const answer = await held('PATCH', '/v1/policy', patch, () => change(user, { disabled: true }))
  t.equal(answer, '401 invalid-credential')
  const policy = (await call('GET', '/v1/policy', { as: account.apiKey })).json()
  t.equal(policy.twoFactor, 'optional')
})

t.test('403: an admin who is demoted during the request cannot reset a user', async (t) => {
  const { user, as } = await admin()
  const path = `/v1/users/${member.id}/reset`
  const demote = () => change(user, { role: 'member' })
  t.equal(await held('POST', path, { as, body: '{"reason":"x"}' }, demote), '403 limited-access')
  t.same(await actsOn(service, member.id, 'user.reset'), ['user.reset refused: limited-access'])
})

t.test('401: an API key that is revoked during the request creates no other key', async (t) => {
  const body = { name: 'first', scopes: ['keys:write'] }
  const first = (await call('POST', '/v1/api-keys', { as: account.apiKey, body })).json()
  const second = { as: first.key, body: JSON.stringify({ ...body, name: 'second' }) }
  const revoke = () => call('DELETE', `/v1/api-keys/${first.id}`, { as: account.apiKey })
  t.equal(await held('POST', '/v1/api-keys', second, revoke), '401 invalid-credential')
})

t.test('401: a step token that is used up during the request is rejected', async (t) => {
  const stepToken = await member.stepToken()
  const late = { as: stepToken, body: JSON.stringify({ code: member.nextCode() }) }
  const use = () => service.recover(stepToken, member.recoveryCodes[0] ?? '')
  t.equal(await held('POST', '/v1/verify', late, use), '401 invalid-credential')
})

t.test('200: the service waits for a slow body', async (t) => {
  const { as } = await admin()
  const body = JSON.stringify({ role: 'admin' })
  const answer = await held('PATCH', `/v1/users/${member.id}`, { as, body }, async () => {})
  t.equal(answer, '200')
})
