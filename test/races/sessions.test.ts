// S33: what ends a session while a step is under way is judged in the write of the step.
import t from 'tap'
import { type EnrolledUser, ON_SERVER, startTwoApps, type TestUser } from '../support/app.ts'
import type { Answer } from '../support/calls.ts'
import { verdictOf } from '../support/guesses.ts'
import { untilLockWaits } from '../support/lock-waits.ts'

const ISSUER = 'https://login.acme.example'
const SSO = { mode: 'optional', issuer: ISSUER, clientId: 'twostep' } as const

t.test('a policy that ends a session during a step', ON_SERVER, async (t) => {
  const [first, second] = await startTwoApps(t)
  const { call, changePolicy, clock, codeAt, database, enroll, enrolledUser } = first

  async function ssoUser(): Promise<EnrolledUser> {
    const account = await first.createAccount()
    await changePolicy(account, { sso: SSO })
    return enrolledUser({ account })
  }

  async function bySso({ account, id: userId }: EnrolledUser): Promise<string> {
    const body = { userId, firstFactor: 'sso' }
    const answer = await call('POST', '/v1/login/assertion', { as: account.apiKey, body })
    return answer.json().accessToken
  }

  /** Sends a step on one replica, and changes the policy on the other one while the step waits for the user's row. */
  async function during(user: TestUser, sso: object, step: () => Promise<Answer>) {
    const { id: accountId } = user.account
    const pending = await database.prisma.$transaction(async (transaction) => {
      await transaction.$queryRaw`SELECT 1 AS locked FROM "User"
        WHERE "accountId" = ${accountId}::uuid AND id = ${user.id}::uuid FOR UPDATE`
      const sent = step()
      await untilLockWaits(database, 1, [sent])
      await second.changePolicy(user.account, { sso })
      // In an array, because a returned promise would be awaited here.
      return [sent]
    })
    const [answer] = await Promise.all(pending)
    return answer && verdictOf(answer)
  }

  const OTHER = { issuer: 'https://other.example' }
  const OVER = '401 step-up-required'

  await t.test(
    '401: a code or a recovery code extends no session of the old provider',
    async (t) => {
      for (const sso of [OTHER, { mode: 'off' }]) {
        const user = await ssoUser()
        const as = await bySso(user)
        const code = () => first.verify(as, user.nextCode())
        t.equal(await during(user, sso, code), OVER)
        await changePolicy(user.account, { sso: SSO })
        const recovery = () => first.recover(as, user.recoveryCodes[0] ?? '')
        t.equal(await during(user, sso, recovery), OVER)
        await changePolicy(user.account, { sso: SSO })
        t.equal((await first.verify(as, user.nextCode())).statusCode, 200, 'nothing was used up')
      }
    }
  )

  await t.test('401, 403: nor one by password when single sign-on becomes required', async (t) => {
    const user = await ssoUser()
    const [as, stepToken] = [await user.accessToken(), await user.stepToken()]
    const required = { mode: 'required' }
    const stepUp = () => first.verify(as, user.nextCode())
    t.equal(await during(user, required, stepUp), OVER)
    await changePolicy(user.account, { sso: SSO })
    const secondStep = () => first.verify(stepToken, user.nextCode())
    t.equal(await during(user, required, secondStep), '403 sso-required')
  })

  await t.test('401, 404: nor does a sign-in without a second step', async (t) => {
    const account = await first.createAccount()
    await changePolicy(account, { sso: SSO })
    const user = await first.createUser({ account })
    const required = { mode: 'required' }
    t.equal(await during(user, required, () => first.login(user)), '401 invalid-credentials')
    await changePolicy(account, { sso: SSO })
    const body = { userId: user.id, firstFactor: 'pwd' }
    const assertion = () => call('POST', '/v1/login/assertion', { as: account.apiKey, body })
    t.equal(await during(user, required, assertion), '404 user-not-found')
  })

  await t.test('401, 403: nor does a set-up', async (t) => {
    for (const [sso, verdict] of [
      [OTHER, OVER],
      [{ mode: 'required' }, '403 sso-managed']
    ] as const) {
      const user = await ssoUser()
      const as = await bySso(user)
      const { authenticatorId, setupKey } = (await enroll(as, { name: 'Second' })).json()
      const confirm = () => first.confirm(as, authenticatorId, codeAt(setupKey, clock.now()))
      t.equal(await during(user, sso, confirm), verdict)
    }
  })
})
