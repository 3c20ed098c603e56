// S18: how an ID token identifies a user: the first time by the verified e-mail address, later by the subject.
import t from 'tap'
import { signEvent } from '../../../src/core/audit/events.ts'
import { createSsoIdentities } from '../../../src/data/sign-in/sso-identities.ts'
import { ON_SERVER, type TestAccount, type TestUser } from '../../support/app.ts'
import { auditEvent } from '../../support/audit-events.ts'
import type { Answer } from '../../support/calls.ts'
import { CLIENT_ID, newKey, type ProviderKey } from '../../support/identity-provider.ts'
import { isProblem, tellTales } from '../../support/problems.ts'
import { mailsTo } from '../../support/records.ts'
import { claimsOf, startSsoApp } from './sso-app.ts'

const sso = await startSsoApp(t)
const { account, ada, bySso, call, changePolicy, clock, createUser, database, elsewhere } = sso
const { enrolledUser, eventsOf, exemptOf, isRefused, isShownExempt, provider, seconds } = sso
const { ssoAccount, untilKeysMayLoad } = sso

t.test(
  '200: a verified ID token signs in without a code, with the methods and the time of the provider',
  ON_SERVER,
  async (t) => {
    const user = await enrolledUser({ account, email: 'grace@example.com' })
    const claims = { sub: 'grace', email: user.email, email_verified: true, nonce: 'n-1' }
    const signIn = { auth_time: seconds(-3600), amr: ['pwd', 'hwk', 7, 'sso', 'x'.repeat(65)] }
    const idToken = await provider.idToken(clock.now(), { ...claims, ...signIn })
    const answer = await bySso(idToken, { nonce: 'n-1' })
    t.match(answer.json(), {
      status: 'authenticated',
      reason: 'sso_supersedes',
      user: { id: user.id, accountId: account.id, email: user.email }
    })
    t.match(claimsOf(answer), {
      amr: ['pwd', 'hwk', 'sso'],
      acr: 'urn:twostep:acr:2',
      auth_time: seconds(-3600)
    })
    const token = answer.json().accessToken
    const stale = await call('POST', '/v1/users/me/recovery-codes', { as: token })
    isProblem(t, stale, 401, 'step-up-required')
    const events = await eventsOf({ userId: user.id, type: 'sign_in.sso' })
    t.match(events, [
      {
        outcome: 'succeeded',
        actor: { kind: 'user', id: user.id, credential: 'id_token' },
        target: { kind: 'user', id: user.id },
        details: { next: 'authenticated', why: 'sso_supersedes', issuer: provider.url }
      }
    ])
  }
)

t.test(
  '200: a sign-in at the current time is fresh, and no sign-in time is in the future or after the token',
  ON_SERVER,
  async (t) => {
    const user = await enrolledUser({ account, email: 'fresh@example.com' })
    const claims = { sub: 'fresh', email: user.email, email_verified: true }
    const ahead = { iat: seconds(20), exp: seconds(60), auth_time: seconds(25) }
    const answer = await bySso(await provider.idToken(clock.now(), { ...claims, ...ahead }))
    t.match(claimsOf(answer), { amr: ['sso'], auth_time: seconds(0) })
    const as = answer.json().accessToken
    t.equal((await call('POST', '/v1/users/me/recovery-codes', { as })).statusCode, 200)
    const issuedBefore = { ...claims, iat: seconds(-120), auth_time: seconds(-60) }
    const earlier = await bySso(await provider.idToken(clock.now(), issuedBefore))
    t.equal(
      claimsOf(earlier)['auth_time'],
      seconds(-120),
      'the time of the token, which is earlier'
    )
    const silent = await bySso(await provider.idToken(clock.now(), claims))
    t.match(claimsOf(silent), { acr: 'urn:twostep:acr:2', auth_time: 0 })
    const unproven = await call('POST', '/v1/users/me/recovery-codes', {
      as: silent.json().accessToken
    })
    isProblem(t, unproven, 401, 'step-up-required')
  }
)

t.test(
  '200: the e-mail address identifies the user at the first sign-in, and the subject at later ones',
  ON_SERVER,
  async (t) => {
    const user = await createUser({ account, email: 'linus@example.com' })
    const first = { sub: 'linus', email: user.email, email_verified: true }
    t.equal((await bySso(await provider.idToken(clock.now(), first))).statusCode, 200)
    const moved = { sub: 'linus', email: ada.email, email_verified: true }
    const answer = await bySso(await provider.idToken(clock.now(), moved))
    t.equal(answer.json().user?.id, user.id)
    const silent = await bySso(await provider.idToken(clock.now(), { sub: 'linus' }))
    t.equal(silent.json().user?.id, user.id, 'without an e-mail address')
  }
)

t.test(
  '401: another subject with the e-mail address of a linked user is rejected',
  ON_SERVER,
  async (t) => {
    const user = await createUser({ account, email: 'margaret@example.com' })
    const claims = { email: user.email, email_verified: true }
    const own = await provider.idToken(clock.now(), { ...claims, sub: 'margaret' })
    t.equal((await bySso(own)).statusCode, 200)
    const other = await provider.idToken(clock.now(), { ...claims, sub: 'not-margaret' })
    await isRefused(t, await bySso(other), 'used_or_linked_otherwise')
  }
)

t.test(
  '200: a link belongs to one client, and the next client links the user again',
  ON_SERVER,
  async (t) => {
    const moving = await ssoAccount('optional')
    const user = await createUser({ account: moving, email: 'moving@example.com' })
    let jti = 0
    const through = async (aud: string, sub: string) => {
      jti += 1
      const claims = { jti, aud, sub, email: user.email, email_verified: true }
      return bySso(await provider.idToken(clock.now(), claims), { account: moving.slug })
    }
    t.equal((await through(CLIENT_ID, 'pair-1')).statusCode, 200)
    await changePolicy(moving, { sso: { clientId: 'next-client' } })
    t.same(await exemptOf(moving), [], 'no user is linked through the new client yet')
    const preview = await call('POST', '/v1/policy/preview', {
      as: moving.apiKey,
      body: { sso: { clientId: CLIENT_ID } }
    })
    t.match(preview.json(), { exempt: 1 })
    t.equal((await through('next-client', 'pair-2')).json().user?.id, user.id)
    await isRefused(t, await through('next-client', 'pair-1'), 'used_or_linked_otherwise', moving)
    await changePolicy(moving, { sso: { clientId: CLIENT_ID } })
    t.equal(
      (await through(CLIENT_ID, 'pair-1')).json().user?.id,
      user.id,
      'the first link still exists'
    )
    t.equal(await isShownExempt(moving, user), true)
  }
)

t.test(
  'the user receives an e-mail after the first sign-in through the provider only',
  ON_SERVER,
  async (t) => {
    const user = await createUser({ account, email: 'notified@example.com' })
    const claims = { sub: 'notified', email: user.email, email_verified: true }
    for (const jti of [1, 2]) await bySso(await provider.idToken(clock.now(), { ...claims, jti }))
    const notice = { kind: 'sso_linked', details: {}, address: '127.0.0.1' }
    t.same(await mailsTo(sso, user.email), [notice])
  }
)

t.test(
  '401: a sign-in is rejected if the policy or the user changes while the keys are loaded',
  ON_SERVER,
  async (t) => {
    type Change = (of: TestAccount, user: TestUser) => Promise<unknown>
    const changes: [title: string, why: string, change: Change][] = [
      ['off', 'changed_meanwhile', (of) => changePolicy(of, { sso: { mode: 'off' } })],
      ['client', 'changed_meanwhile', (of) => changePolicy(of, { sso: { clientId: 'next' } })],
      ['issuer', 'changed_meanwhile', (of) => changePolicy(of, { sso: { issuer: elsewhere.url } })],
      ['disabled', 'no_user', (of, { id }) => patchUser(of, id, { disabled: true })],
      ['address', 'no_user', (of, { id }) => patchUser(of, id, { email: 'taken@example.com' })]
    ]
    for (const [title, why, change] of changes) {
      const of = await ssoAccount('optional')
      const user = await createUser({ account: of, email: 'busy@example.com' })
      const key = await newKey(`busy-${title}`)
      const claims = { sub: 'busy', email: user.email, email_verified: true }
      const idToken = await provider.idToken(clock.now(), claims, { key })
      untilKeysMayLoad()
      const answer = await whileKeysLoad(
        key,
        () => change(of, user),
        bySso(idToken, { account: of.slug })
      )
      await t.test(title, async (t) => isRefused(t, answer, why, of))
      t.equal(await database.prisma.ssoIdentity.count({ where: { userId: user.id } }), 0)
    }
  }
)

t.test(
  'a link is created only if the user still has the judged e-mail address',
  ON_SERVER,
  async (t) => {
    const user = await createUser({ account, email: 'judged@example.com' })
    const key = { accountId: account.id, userId: user.id }
    const event = signEvent(Buffer.alloc(32), auditEvent({ ...key, occurredAt: clock.now() }))
    const outcome = await createSsoIdentities(database.prisma).signIn({
      userId: user.id,
      identity: {
        accountId: account.id,
        issuer: provider.url,
        clientId: CLIENT_ID,
        subject: 'judged'
      },
      email: 'before@example.com',
      verifiedEmail: 'before@example.com',
      idToken: { hash: new Uint8Array(32), expiresAt: clock.now() },
      now: clock.now(),
      recordOf: () => ({ event, notice: null })
    })
    t.equal(outcome, 'changed_meanwhile')
    t.equal(await database.prisma.ssoIdentity.count({ where: key }), 0)
  }
)

t.test('401: unknown and disabled users get the same response', ON_SERVER, async (t) => {
  const user = await createUser({ account, email: 'gone@example.com' })
  const gone = { sub: 'gone', email: user.email, email_verified: true }
  t.equal((await bySso(await provider.idToken(clock.now(), gone))).statusCode, 200)
  await call('PATCH', `/v1/users/${user.id}`, { as: account.apiKey, body: { disabled: true } })
  const disabled = await bySso(await provider.idToken(clock.now(), gone))
  await isRefused(t, disabled, 'no_user')
  const stranger = { ...gone, sub: 'stranger', email: 'stranger@example.com' }
  const unknown = await bySso(await provider.idToken(clock.now(), stranger))
  await isRefused(t, unknown, 'no_user')
  t.same(tellTales(unknown), tellTales(disabled))
})

/** Holds the provider's response with a new key back until something else has happened. */
async function whileKeysLoad(
  key: ProviderKey,
  meanwhile: () => Promise<unknown>,
  pending: Promise<Answer>
): Promise<Answer> {
  const before = provider.keys
  provider.keys = [key]
  const requested = new Promise<() => void>((resolve) => {
    provider.answerWith = (request, response) => {
      resolve(() => {
        provider.answerWith = null
        provider.answer(request, response)
      })
    }
  })
  const release = await requested
  await meanwhile()
  release()
  const answer = await pending
  provider.keys = before
  untilKeysMayLoad()
  return answer
}

function patchUser(of: TestAccount, id: string, body: object): Promise<Answer> {
  return call('PATCH', `/v1/users/${id}`, { as: of.apiKey, body })
}
