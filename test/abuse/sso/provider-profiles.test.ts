// S18, S33: the tokens and documents of real providers. Each one signs in, links, changes its subject, is unlinked and is
// linked again.
import t from 'tap'
import { ON_SERVER, startApp } from '../../support/app.ts'
import { CLIENT_ID } from '../../support/identity-provider.ts'
import { isProblem } from '../../support/problems.ts'
import { openProfiledProvider, PROFILES } from '../../support/provider-profiles.ts'

const { call, changePolicy, clock, createAccount, createUser } = await startApp(t)

for (const [name, profile] of Object.entries(PROFILES)) {
  t.test(`${name}: a user signs in, is unlinked, and is linked again`, ON_SERVER, async (t) => {
    const account = await createAccount()
    const { id, email } = await createUser({ account })
    const provider = await openProfiledProvider(t, profile)
    const { issuer } = provider
    const trustEmail = profile.links === 'by trusted address'
    await changePolicy(account, {
      sso: { mode: 'optional', issuer, clientId: CLIENT_ID, trustEmail }
    })

    const path = `/v1/users/${id}/sso-identities`
    const as = account.apiKey
    const send = async (sub: string, more: Record<string, unknown> = {}) => {
      clock.advance({ seconds: 1 })
      const idToken = await provider.idToken(clock.now(), sub, email, more)
      return call('POST', '/v1/login/sso', { body: { account: account.slug, idToken } })
    }
    const link = async (sub: string) => {
      if (profile.links !== 'by the back end') return
      isProblem(t, await send(sub), 401, 'invalid-sso-token')
      t.equal((await call('PUT', path, { as, body: { subject: sub } })).statusCode, 200)
    }

    await link('subject-1')
    for (const title of ['the first sign-in', 'a later one']) {
      t.match((await send('subject-1')).json(), { status: 'authenticated', user: { id } }, title)
    }
    isProblem(t, await send('subject-2'), 401, 'invalid-sso-token')
    if (profile.accessToken) {
      isProblem(t, await send('subject-1', profile.accessToken), 401, 'invalid-sso-token')
    }

    const [identity, ...others] = (await call('GET', path, { as })).json().items
    t.same(others, [])
    t.match(identity, { issuer, subject: 'subject-1' })
    t.equal((await call('DELETE', `${path}/${identity.id}`, { as })).statusCode, 204)
    t.same((await call('GET', path, { as })).json(), { items: [] })

    await link('subject-2')
    t.match((await send('subject-2')).json(), { status: 'authenticated', user: { id } })
    isProblem(t, await send('subject-1'), 401, 'invalid-sso-token')
  })
}
