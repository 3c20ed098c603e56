// S18: what an account's policy for single sign-on allows and requires.
import t from 'tap'
import { ON_SERVER } from '../../support/app.ts'
import { CLIENT_ID, newKey } from '../../support/identity-provider.ts'
import { isProblem, tellTales } from '../../support/problems.ts'
import { claimsOf, startSsoApp } from './sso-app.ts'

const sso = await startSsoApp(t)
const { account, adaClaims, assert, assertedToken, bySso, changePolicy, clock } = sso
const { createAccount, createUser, enrolledUser, eventsOf, exemptOf, isShownExempt, login } = sso
const { provider, seconds, ssoAccount, untilKeysMayLoad, verify } = sso

t.test(
  '403: an account without single sign-on and an unknown account get the same response',
  ON_SERVER,
  async (t) => {
    const without = await createAccount()
    const idToken = await provider.idToken(clock.now(), adaClaims)
    const answers = await Promise.all(
      [without.slug, 'no-such-account'].map((slug) => bySso(idToken, { account: slug }))
    )
    for (const answer of answers) isProblem(t, answer, 403, 'sso-not-enabled')
    const [one, other] = answers.map(tellTales)
    t.same(one, other)
    const asserted = await assert(await createUser({ account: without }), 'sso')
    isProblem(t, asserted, 403, 'sso-not-enabled')
    t.match(await eventsOf({ type: 'sign_in.sso' }, without), [
      { outcome: 'refused', reason: 'sso-not-enabled', actor: { kind: 'anonymous' } }
    ])
  }
)

t.test(
  '200: an assertion of single sign-on from a back end counts as a fresh second factor',
  ON_SERVER,
  async (t) => {
    const user = await enrolledUser({ account })
    const answer = await assert(user, 'sso')
    t.match(answer.json(), { status: 'authenticated', reason: 'sso_supersedes' })
    const { amr, acr, auth_time } = claimsOf(answer)
    t.same(
      { amr, acr, auth_time },
      { amr: ['sso'], acr: 'urn:twostep:acr:2', auth_time: seconds(0) }
    )
    t.match((await assert(user, 'pwd')).json(), { status: 'verification_required' })
  }
)

t.test(
  '403: an account that requires single sign-on rejects passwords and codes, also of a started sign-in',
  ON_SERVER,
  async (t) => {
    const strict = await createAccount()
    const user = await enrolledUser({ account: strict })
    const stepToken = await assertedToken(user)
    await changePolicy(strict, {
      sso: { mode: 'required', issuer: provider.url, clientId: CLIENT_ID }
    })
    isProblem(t, await login(user), 403, 'sso-required')
    isProblem(t, await login({ ...user, password: 'wrong' }), 403, 'sso-required')
    isProblem(t, await assert(user, 'pwd'), 403, 'sso-required')
    isProblem(t, await verify(stepToken, user.nextCode()), 403, 'sso-required')
    const claims = { sub: 'strict', email: user.email, email_verified: true }
    provider.keys = [await newKey('strict')]
    untilKeysMayLoad()
    const idToken = await provider.idToken(clock.now(), claims)
    t.equal((await bySso(idToken, { account: strict.slug })).statusCode, 200)
    t.equal((await assert(user, 'sso')).statusCode, 200)
  }
)

t.test('the roster shows and finds the exempt users', ON_SERVER, async (t) => {
  const mixed = await ssoAccount('optional')
  const linked = await createUser({ account: mixed, email: 'linked@example.com' })
  const other = await createUser({ account: mixed })
  const claims = { sub: 'linked', email: linked.email, email_verified: true }
  untilKeysMayLoad()
  const idToken = await provider.idToken(clock.now(), claims)
  t.equal((await bySso(idToken, { account: mixed.slug })).statusCode, 200)
  t.same(await exemptOf(mixed), [linked.id])
  t.equal(await isShownExempt(mixed, linked), true)
  t.equal(await isShownExempt(mixed, other), false)
  await changePolicy(mixed, { sso: { mode: 'required' } })
  t.same(await exemptOf(mixed), [linked.id, other.id])
  t.equal(await isShownExempt(mixed, other), true)
  await changePolicy(mixed, { sso: { mode: 'optional', issuer: 'https://new.example' } })
  t.same(await exemptOf(mixed), [], 'no user is linked through the new provider yet')
  await changePolicy(mixed, { sso: { mode: 'off' } })
  t.same(await exemptOf(mixed), [])
  t.equal(await isShownExempt(mixed, linked), false)
})
