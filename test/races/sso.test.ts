// S18: an ID token works once, and a user is linked to one subject, even if forty requests race.
import t from 'tap'
import { tally } from '../support/guesses.ts'
import { CLIENT_ID, openIdentityProvider } from '../support/identity-provider.ts'
import { atOnce, race } from '../support/replicas.ts'

const provider = await openIdentityProvider(t)

race(t, async (t, { first, of }, rounds) => {
  const account = await first.createAccount()
  const sso = { mode: 'optional', issuer: provider.url, clientId: CLIENT_ID }
  await first.changePolicy(account, { sso })
  const bySso = (index: number, idToken: string) =>
    of(index).call('POST', '/v1/login/sso', { body: { account: account.slug, idToken } })

  await t.test('401: only one of forty requests with one ID token succeeds', async (t) => {
    for (let round = 0; round < rounds(4); round += 1) {
      const { email } = await first.createUser({ account })
      const claims = { sub: `forty-${round}`, email, email_verified: true }
      const idToken = await provider.idToken(first.clock.now(), claims)
      const answers = await atOnce(40, (index) => bySso(index, idToken))
      t.same(tally(answers), { '200': 1, '401 invalid-sso-token': 39 })
    }
  })

  await t.test('401: only one of eight subjects that claim one user is linked', async (t) => {
    for (let round = 0; round < rounds(8); round += 1) {
      const { id, email } = await first.createUser({ account })
      const idTokens = await atOnce(8, (index) => {
        const claims = { sub: `claims-${round}-${index}`, email, email_verified: true }
        return provider.idToken(first.clock.now(), claims)
      })
      const answers = await atOnce(8, (index) => bySso(index, idTokens[index] ?? ''))
      t.same(tally(answers), { '200': 1, '401 invalid-sso-token': 7 })
      const where = { accountId: account.id, userId: id }
      t.equal(await first.database.prisma.ssoIdentity.count({ where }), 1)
    }
  })

  await t.test('200: two tabs of one person both sign in the first time', async (t) => {
    const { email } = await first.createUser({ account })
    const idTokens = await atOnce(2, (jti) =>
      provider.idToken(first.clock.now(), { sub: 'tabs', email, email_verified: true, jti })
    )
    const answers = await atOnce(2, (index) => bySso(index, idTokens[index] ?? ''))
    t.same(tally(answers), { '200': 2 })
  })

  await t.test('401: one subject that claims two users is linked to one of them', async (t) => {
    for (let round = 0; round < rounds(8); round += 1) {
      const users = [await first.createUser({ account }), await first.createUser({ account })]
      const idTokens = await atOnce(2, (index) => {
        const email = users[index]?.email
        const claims = { sub: `both-${round}`, email, email_verified: true, jti: index }
        return provider.idToken(first.clock.now(), claims)
      })
      const answers = await atOnce(2, (index) => bySso(index, idTokens[index] ?? ''))
      const signedIn = answers.filter(({ statusCode }) => statusCode === 200)
      const ids = new Set(signedIn.map((answer) => answer.json().user.id))
      t.equal(ids.size, 1)
    }
  })
})
