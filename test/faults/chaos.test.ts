// S24: `kill -9` ends one of two replicas every few seconds, while users send requests and remember every acknowledged
// act. The test takes eight seconds in the suite, and two minutes with `npm run chaos`.
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { verifyAuditTrail } from '../../src/commands/audit/verify.ts'
import { openDatabase } from '../../src/data/engine/database.ts'
import { testConfig, verbsBy } from '../support/app.ts'
import { startFleet } from '../support/fleet.ts'
import { createLedger, createPerson } from '../support/person.ts'
import {
  createPostgresqlServer,
  WITH_POSTGRESQL_BINARIES,
  WITH_POSTGRESQL_SERVER
} from '../support/postgresql-server.ts'

const asked = process.env['CHAOS_SECONDS']
const SECONDS = Number(asked ?? 8)
const OPTIONS = asked ? WITH_POSTGRESQL_BINARIES : WITH_POSTGRESQL_SERVER
const PEOPLE = 8
/** How long the replica runs before the next `kill -9`. */
const PAUSE_MS = 1000

t.test('replicas break no rule when kill -9 ends them repeatedly', OPTIONS, async (t) => {
  const server = await createPostgresqlServer(t)
  const env = { DATABASE_URL: server.url, LOG_LEVEL: 'fatal' }
  const { call, replicas } = await startFleet(t, { replicas: 2, env })
  const account = await verbsBy(call).createAccount()
  const ledger = createLedger()
  const people = await Promise.all(
    Array.from({ length: PEOPLE }, () => createPerson(call, account, ledger))
  )

  const over = AbortSignal.timeout(SECONDS * 1000)
  const living = people.map(async ({ act }) => {
    while (!over.aborted) await act()
  })
  let kills = 0
  for (; !over.aborted; kills += 1) {
    const replica = replicas[kills % replicas.length]
    await sleep(PAUSE_MS)
    await replica?.kill()
    await replica?.start()
  }
  await Promise.all(living)

  const { acknowledged, violations, heard } = ledger
  // Ten are enough: a difference of thousands takes longer to print than to compute.
  t.same(violations.slice(0, 10), [], 'no rule is broken')
  const database = await openDatabase({ url: server.url })
  t.teardown(() => database.close())
  const { prisma } = database
  while ((await prisma.unchainedAuditEvent.count()) > 0) await sleep(100)

  const events = await prisma.auditEvent.findMany({ select: { requestId: true, outcome: true } })
  const recorded = new Map<string, string[]>()
  for (const { requestId, outcome } of events) {
    recorded.set(requestId, [...(recorded.get(requestId) ?? []), outcome])
  }
  const lost = acknowledged.filter(
    ({ requestId, outcome }) => recorded.get(requestId)?.join() !== outcome
  )
  t.same(lost.slice(0, 10), [], `${acknowledged.length} acknowledged acts are audited exactly once`)
  const { masterKeys } = testConfig()
  const trail = await verifyAuditTrail({ prisma, masterKeys, noted: null })
  t.ok(trail.isWhole, trail.line)

  for (const { id, known } of people) {
    const { isEnrolled, failures, lastTimeStep, recoveryCodes } = known()
    const user = await prisma.user.findFirstOrThrow({ where: { id } })
    const [authenticator] = await prisma.authenticator.findMany({ where: { userId: id } })
    if (isEnrolled !== null) t.equal(authenticator !== undefined, isEnrolled, 'the set-up is kept')
    if (authenticator && isEnrolled) {
      t.ok(authenticator.lastTimeStep >= lastTimeStep, 'the last time step is kept')
      const isBetween =
        user.codeFailures >= failures.atLeast && user.codeFailures <= failures.atMost
      t.ok(isBetween, `${user.codeFailures} failures`, { failures })
    }
    if (recoveryCodes !== null) {
      const count = await prisma.recoveryCode.count({ where: { userId: id } })
      t.equal(count, recoveryCodes, 'the recovery codes are kept')
    }
  }
  t.ok(kills > 0, `kill -9 was sent ${kills} times`)
  const said = [...heard].sort(([one], [other]) => one.localeCompare(other))
  for (const [what, times] of said) t.comment(`${times} × ${what}`)
})
