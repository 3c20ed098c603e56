// S3, S5: guesses after single sign-on have their own budget, which all replicas share. The provider cannot close the paths of the
// password.
import t, { type Test } from 'tap'
import type { EnrolledUser } from '../support/app.ts'
import { tally, WRONG_RECOVERY_CODE, wrongCode } from '../support/guesses.ts'
import { CLIENT_ID, openIdentityProvider } from '../support/identity-provider.ts'
import { isProblem } from '../support/problems.ts'
import { MAIL_WAITS, mailsTo } from '../support/records.ts'
import { atOnce, type Replicas, race } from '../support/replicas.ts'

const provider = await openIdentityProvider(t)
const SSO = { mode: 'optional', issuer: provider.url, clientId: CLIENT_ID } as const
const UNTOUCHED = {
  codeFailures: 0,
  codeLockedUntil: null,
  codeDisabledAt: null,
  recoveryFailures: 0,
  recoveryLockedUntil: null
}

race(
  t,
  async (t, replicas, rounds) => {
    const { first, of } = replicas
    const { call, changePolicy, clock, createAccount, database, enrolledUser } = first
    let issued = 0
    const rowOf = ({ id }: EnrolledUser) => database.prisma.user.findFirstOrThrow({ where: { id } })

    /** Returns a user of an account whose provider is new, so that the provider links them only with a code. */
    async function newUser(): Promise<EnrolledUser> {
      const account = await createAccount()
      await changePolicy(account, { sso: SSO })
      return enrolledUser({ account })
    }

    /** Returns step tokens for which only the provider vouches. */
    async function linkTokens(user: EnrolledUser, count: number): Promise<string[]> {
      const { account, email, id: sub } = user
      const tokens: string[] = []
      for (let index = 0; index < count; index += 1) {
        issued += 1
        const claims = { sub, email, email_verified: true, jti: issued }
        const idToken = await provider.idToken(clock.now(), claims)
        const body = { account: account.slug, idToken }
        tokens.push((await call('POST', '/v1/login/sso', { body })).json().stepToken)
      }
      return tokens
    }

    await t.test(
      '429: forty wrong codes: ten are judged, and none counts on the own path',
      async (t) => {
        for (let round = 0; round < rounds(4); round += 1) {
          const user = await newUser()
          const tokens = await linkTokens(user, 8)
          const code = wrongCode(user, clock.now())
          const answers = await atOnce(40, (index) =>
            of(index).verify(tokens[index % 8] ?? '', code)
          )
          t.same(tally(answers), { '422 code-rejected': 10, '429 too-many-attempts': 30 })
          t.match(await rowOf(user), { ...UNTOUCHED, ssoCodeFailures: 10 })
          const [again = ''] = await linkTokens(user, 1)
          const locked = await of(round).verify(again, user.nextCode())
          t.match(isProblem(t, locked, 429, 'too-many-attempts'), {
            scope: 'user',
            recoveryOpen: true
          })
          t.equal((await of(round).verify(await user.stepToken(), user.nextCode())).statusCode, 200)
          t.match(await rowOf(user), { ssoCodeFailures: 0, ssoCodeLockedUntil: null })
        }
      }
    )

    await t.test('429: nor do forty wrong recovery codes', async (t) => {
      const user = await newUser()
      const tokens = await linkTokens(user, 8)
      const answers = await atOnce(40, (index) =>
        of(index).recover(tokens[index % 8] ?? '', WRONG_RECOVERY_CODE)
      )
      t.same(tally(answers), { '422 code-rejected': 10, '429 too-many-attempts': 30 })
      t.match(await rowOf(user), { ...UNTOUCHED, ssoRecoveryFailures: 10 })
      const [again = ''] = await linkTokens(user, 1)
      isProblem(
        t,
        await first.recover(again, user.recoveryCodes[0] ?? ''),
        429,
        'too-many-attempts'
      )
      t.equal((await first.verify(again, user.nextCode())).statusCode, 200, 'codes are open')
    })

    await t.test('429: a step-up after single sign-on uses the same budget', async (t) => {
      const user = await newUser()
      const body = { userId: user.id, firstFactor: 'sso' }
      const answer = await call('POST', '/v1/login/assertion', { as: user.account.apiKey, body })
      const { accessToken } = answer.json()
      const code = wrongCode(user, clock.now())
      const answers = await atOnce(40, (index) => of(index).verify(accessToken, code))
      t.same(tally(answers), { '422 code-rejected': 10, '429 too-many-attempts': 30 })
      t.match(await rowOf(user), { ...UNTOUCHED, ssoCodeFailures: 10 })
    })

    await t.test('429: a path that is closed after a password is closed after both', async (t) => {
      await closedByPassword(t, replicas, await newUser(), linkTokens)
    })

    await t.test('403: fifty wrong codes disable codes after single sign-on only', async (t) => {
      const user = await newUser()
      for (let lock = 0; lock < 5; lock += 1) {
        clock.advance({ minutes: 15 })
        const code = wrongCode(user, clock.now())
        for (const token of await linkTokens(user, 2)) {
          for (let guess = 0; guess < 5; guess += 1) await of(guess).verify(token, code)
        }
      }
      clock.advance({ minutes: 15 })
      const [token = ''] = await linkTokens(user, 1)
      isProblem(t, await first.verify(token, user.nextCode()), 403, 'authenticator-disabled')
      t.match(await mailsTo(first, user.email, 'codes_disabled'), [
        { details: { firstFactor: 'sso', recoveryCodesRemaining: 10 } }
      ])
      t.match(await rowOf(user), UNTOUCHED)
      t.equal((await first.recover(token, user.recoveryCodes[0] ?? '')).statusCode, 200)
      t.match(await rowOf(user), { ...UNTOUCHED, ssoCodeFailures: 0, ssoCodeDisabledAt: null })
    })
  },
  { env: MAIL_WAITS }
)

async function closedByPassword(
  t: Test,
  { first }: Replicas,
  user: EnrolledUser,
  linkTokens: (user: EnrolledUser, count: number) => Promise<string[]>
): Promise<void> {
  const code = wrongCode(user, first.clock.now())
  for (const token of [await user.stepToken(), await user.stepToken()]) {
    for (let guess = 0; guess < 5; guess += 1) await first.verify(token, code)
  }
  const [token = ''] = await linkTokens(user, 1)
  isProblem(t, await first.verify(token, user.nextCode()), 429, 'too-many-attempts')
}
