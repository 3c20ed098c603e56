// The mails about a power that grows or moves: to the user concerned, and for acts on the whole account to every admin.
// Without a mail server, a service in production keeps its mails in the outbox.
import t from 'tap'
import { OPERATOR_KEY, startApp, type TestAccount } from '../../support/app.ts'

const service = await startApp(t, { env: { NODE_ENV: 'production' } })
const { call, changePolicy, clock, createAccount, createUser, database, enrolledUser } = service

/** Returns the mails of an act, as `kind recipient`, and the details of each kind. */
async function mailsOf({ id: accountId }: TestAccount, act: () => Promise<unknown>) {
  const { prisma } = database
  await prisma.outboxMail.deleteMany({ where: { accountId } })
  await act()
  const rows = await prisma.outboxMail.findMany({ where: { accountId } })
  return {
    mails: rows.map(({ kind, recipient }) => `${kind} ${recipient.split('@')[0]}`).sort(),
    details: Object.fromEntries(rows.map(({ kind, details }) => [kind, details])),
    addresses: [...new Set(rows.map(({ address }) => address))]
  }
}

async function staffed() {
  const account = await createAccount()
  const named = (email: string, role: 'admin' | 'member') =>
    createUser({ account, email: `${email}@example.com`, role })
  const [ann, bob, cy] = [
    await enrolledUser({ account, email: 'ann@example.com', role: 'admin' }),
    await named('bob', 'admin'),
    await named('cy', 'member')
  ]
  const patch = (id: string, body: object, as = account.apiKey) =>
    call('PATCH', `/v1/users/${id}`, { as, body })
  return { account, ann, bob, cy, patch, keyId: account.apiKey.split('_')[1] }
}

t.test('a new admin: the user and the other admins', async (t) => {
  const { account, ann, cy, patch, keyId } = await staffed()
  const promoted = await mailsOf(account, () => patch(cy.id, { role: 'admin' }))
  t.same(promoted.mails, ['admin_added ann', 'admin_added bob', 'role_changed cy'])
  t.same(promoted.details['admin_added'], { user: cy.email, by: 'api_key', actor: keyId })
  t.same(promoted.details['role_changed'], { role: 'admin' })
  t.same((await mailsOf(account, () => patch(cy.id, { role: 'admin' }))).mails, [], 'no change')
  const body = { email: 'dee@example.com', role: 'admin' }
  const created = await mailsOf(account, () =>
    call('POST', '/v1/users', { as: account.apiKey, body })
  )
  t.same(created.mails, [
    ...['admin_added ann', 'admin_added bob', 'admin_added cy', 'role_changed dee']
  ])
  const demoted = await mailsOf(account, async () =>
    patch(cy.id, { role: 'member' }, await ann.accessToken())
  )
  t.same(demoted.mails, [
    ...['admin_removed ann', 'admin_removed bob', 'admin_removed dee', 'role_changed cy']
  ])
  t.same(demoted.details['admin_removed'], {
    ...{ user: cy.email, how: 'demoted', by: 'admin', actor: ann.email }
  })
  t.same(demoted.addresses, [null], 'the network address of the admin is not shown to others')
})

t.test(
  'disabling, enabling and deleting: the user, and for an admin the other admins',
  async (t) => {
    const { account, bob, cy, patch } = await staffed()
    const changed = async (id: string, disabled: boolean) =>
      (await mailsOf(account, () => patch(id, { disabled }))).mails
    t.same(await changed(cy.id, true), ['user_disabled cy'])
    t.same(await changed(cy.id, true), [], 'no change')
    t.same(await changed(cy.id, false), ['user_enabled cy'])
    t.same(await changed(bob.id, true), ['admin_removed ann', 'user_disabled bob'])
    t.same(await changed(bob.id, false), ['admin_added ann', 'user_enabled bob'])
    const remove = (id: string) => () => call('DELETE', `/v1/users/${id}`, { as: account.apiKey })
    t.same((await mailsOf(account, remove(bob.id))).mails, [
      'admin_removed ann',
      'user_deleted bob'
    ])
    t.same((await mailsOf(account, remove(cy.id))).mails, ['user_deleted cy'])
  }
)

t.test('API keys: every admin, with one mail for all keys of a request', async (t) => {
  const { account, keyId } = await staffed()
  const scopes = ['keys:write', 'users:read']
  const create = (as: string, name: string) =>
    call('POST', '/v1/api-keys', { as, body: { name, scopes } })
  let made = { id: '', key: '' }
  const created = await mailsOf(account, async () => {
    made = (await create(account.apiKey, 'Robot')).json()
  })
  t.same(created.mails, ['api_key_created ann', 'api_key_created bob'])
  t.same(created.details['api_key_created'], {
    ...{ name: 'Robot', scopes, by: 'api_key', actor: keyId }
  })
  await create(made.key, 'Child')
  const revoked = await mailsOf(account, () =>
    call('DELETE', `/v1/api-keys/${made.id}?descendants=true`, { as: OPERATOR_KEY })
  )
  t.same(revoked.mails, ['api_keys_revoked ann', 'api_keys_revoked bob'])
  const { names, ...by } = revoked.details['api_keys_revoked'] as { names: string[] }
  t.same([...names].sort(), ['Child', 'Robot'])
  t.same(by, { by: 'operator', actor: null })
})

t.test('policy, mandate and account: every admin, and only about a change', async (t) => {
  const { account } = await staffed()
  const change = { graceDays: 3, trustedDevices: { allowed: true } }
  const changed = await mailsOf(account, () => changePolicy(account, change))
  t.same(changed.mails, ['policy_changed ann', 'policy_changed bob'])
  t.match(changed.details['policy_changed'], {
    changes: [
      { field: 'graceDays', from: '0', to: '3' },
      { field: 'trustedDevices.allowed', from: 'false', to: 'true' }
    ]
  })
  t.same((await mailsOf(account, () => changePolicy(account, change))).mails, [], 'no change')
  const mandated = await mailsOf(account, () =>
    call('PUT', `/v1/accounts/${account.id}/mandate`, {
      ...{ as: OPERATOR_KEY, body: { requiredFrom: clock.now(), reason: 'Contract' } }
    })
  )
  t.same(
    mandated.mails.filter((mail) => mail.startsWith('mandate_set')),
    ['mandate_set ann', 'mandate_set bob']
  )
  const renamed = (body: object) => () =>
    call('PATCH', `/v1/accounts/${account.id}`, { as: OPERATOR_KEY, body })
  const { mails, details } = await mailsOf(account, renamed({ support: { email: 'x@y.example' } }))
  t.same(mails, ['account_changed ann', 'account_changed bob'])
  t.match(details['account_changed'], { fields: ['supportEmail'], by: 'operator' })
  t.same((await mailsOf(account, renamed({ name: account.name }))).mails, [], 'no change')
})

t.test('a new trusted device: the user', async (t) => {
  const account = await createAccount()
  await changePolicy(account, { trustedDevices: { allowed: true, days: 30 } })
  const user = await enrolledUser({ account, email: 'eve@example.com' })
  const trust = (body: object) => async () => {
    const as = await user.stepToken()
    const answer = await call('POST', '/v1/verify', { as, body: { ...body, rememberDevice: true } })
    t.ok(answer.json().deviceToken)
  }
  const until = new Date(clock.now().getTime() + 30 * 86_400_000).toISOString()
  const byCode = await mailsOf(account, trust({ code: user.nextCode() }))
  t.same(byCode.mails, ['device_trusted eve'])
  t.same(byCode.details['device_trusted'], { until })
  t.same(byCode.addresses, ['127.0.0.1'])
  const [recoveryCode = ''] = user.recoveryCodes
  const byRecovery = await mailsOf(account, trust({ recoveryCode }))
  t.same(byRecovery.mails, ['recovery_code_used eve'], 'one mail for both')
  t.match(byRecovery.details['recovery_code_used'], { trustedUntil: until })
})
