// Concurrent changes of one account, and concurrent statements of one transaction.
import t from 'tap'
import { ON_SERVER, OPERATOR_KEY, startTwoApps } from '../support/app.ts'
import { tally } from '../support/guesses.ts'
import { untilLockWaits } from '../support/lock-waits.ts'
import { MAIL_WAITS, mailsTo } from '../support/records.ts'

t.test('200: two changes to the same name notify the admins once', ON_SERVER, async (t) => {
  const warnings: string[] = []
  const onWarning = ({ name, message }: Error) => warnings.push(`${name}: ${message}`)
  process.on('warning', onWarning)
  t.teardown(() => process.off('warning', onWarning))
  const [first, second] = await startTwoApps(t, { env: MAIL_WAITS })
  const account = await first.createAccount()
  const { email } = await first.createUser({ account, role: 'admin' })
  const sent = await first.database.prisma.$transaction(async (transaction) => {
    await transaction.$queryRaw`SELECT 1 AS locked FROM "Account"
      WHERE id = ${account.id}::uuid FOR UPDATE`
    const changes = [first, second].map((app) =>
      app.call('PATCH', `/v1/accounts/${account.id}`, { as: OPERATOR_KEY, body: { name: 'New' } })
    )
    await untilLockWaits(first.database, changes.length, changes)
    return changes.map((change) => [change] as const)
  })
  t.same(tally(await Promise.all(sent.map(([change]) => change))), { 200: 2 })
  t.equal((await mailsTo(first, email, 'account_changed')).length, 1)
  t.same(warnings, [], 'no statement is sent while the connection is busy')
})
