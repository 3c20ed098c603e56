// The command that verifies the audit trail: its output line, and its exit code for a scheduled job.
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { verifyAuditTrail } from '../../src/commands/audit/verify.ts'
import { BREACHES, type ChainHead, formatHead } from '../../src/core/audit/chain.ts'
import { type SignedAuditEvent, signEvent } from '../../src/core/audit/events.ts'
import { openServiceKeyOf } from '../../src/crypto/service-keys.ts'
import { type Database, openDatabase } from '../../src/data/engine/database.ts'
import { createServiceKeys } from '../../src/data/keys/service-keys.ts'
import { createAuditEvents } from '../../src/data/trail/audit-events.ts'
import { createAuditLinks } from '../../src/data/trail/links.ts'
import { createAuditRetention } from '../../src/data/trail/retention.ts'
import { ON_EMBEDDED, testConfig, testEnvironment } from '../support/app.ts'
import { auditEvent } from '../support/audit-events.ts'
import { NINE } from '../support/clock.ts'
import { createTestDatabase } from '../support/database.ts'
import { runToEnd } from '../support/processes.ts'

const COMMAND = fileURLToPath(new URL('../../dist/commands/audit.js', import.meta.url))
const { masterKeys } = testConfig()

/** Runs the built command in its own process. */
function audit(env: NodeJS.ProcessEnv, ...args: string[]) {
  return runToEnd(COMMAND, args, testEnvironment(env))
}

function auditKeyOf(prisma: Database['prisma']): Promise<Uint8Array> {
  const stored = createServiceKeys(prisma)
  return openServiceKeyOf({ stored, masterKeys, now: () => NINE }, 'audit')
}

/** Writes three events, and chains two of them, under the deployment's key. */
async function fill(database: Database): Promise<SignedAuditEvent[]> {
  const { prisma } = database
  const key = await auditKeyOf(prisma)
  const events = [0, 1, 2].map((second) =>
    signEvent(key, auditEvent({ occurredAt: new Date(NINE.getTime() + second * 1000) }))
  )
  for (const event of events) await createAuditEvents(database).record(event)
  await createAuditLinks(prisma).chainNext({ key, limit: 2 })
  return events
}

async function headOf({ prisma }: Database): Promise<string> {
  return formatHead(await prisma.auditLink.findFirstOrThrow({ orderBy: { sequence: 'desc' } }))
}

t.test('every result has its line and its exit code', async (t) => {
  const url = await createTestDatabase(t)
  const database = await openDatabase({ url })
  t.teardown(() => database.close())
  const { prisma } = database
  const verify = (noted: ChainHead | null = null, keys = masterKeys) =>
    verifyAuditTrail({ prisma, masterKeys: keys, noted })

  t.test('throws: the service has never started', async (t) => {
    await t.rejects(verify(), { message: /^there is no audit key/ })
    t.equal(await prisma.serviceKey.count(), 0, 'no key is made')
  })

  t.test('whole: an empty audit trail', async (t) => {
    await auditKeyOf(prisma)
    const line = '0 events verified, 0 not chained yet; no head yet'
    t.same(await verify(), { isWhole: true, line })
  })

  t.test('broken: a noted head is beyond the end of the chain', async (t) => {
    const line = `broken at sequence 7: ${BREACHES['head-missing']}`
    const noted = { sequence: 7n, hash: Buffer.alloc(32, 1) }
    t.same(await verify(noted), { isWhole: false, line })
  })

  t.test('throws: the master keys are different', async (t) => {
    const other = testConfig({ MASTER_KEYS: `new:${Buffer.alloc(32, 9).toString('base64')}` })
    await t.rejects(verify(null, other.masterKeys), { message: /MASTER_KEYS does not hold/ })
  })

  t.test('2: the service is using the folder', ON_EMBEDDED, async (t) => {
    const { code, err } = await audit({ DATABASE_URL: url }, 'verify')
    t.equal(code, 2)
    t.match(err, /^audit: not verified: .* is in use by process \d+.* stop the other.*\n$/)
  })

  t.test('0: whole, and 1: broken', async (t) => {
    const [, second] = await fill(database)
    const head = await headOf(database)
    await database.close()
    t.same(await audit({ DATABASE_URL: url }, 'verify', '--head', head), {
      code: 0,
      out: `2 events verified, 1 not chained yet; head ${head}\n`,
      err: ''
    })
    const row = `sequence 2, account ${second?.accountId}, event ${second?.id}, occurredAt 2026-01-05T09:00:01.000Z`
    t.same(await audit({ DATABASE_URL: url }, 'verify', '--head', `2:${'ab'.repeat(32)}`), {
      code: 1,
      out: `broken at ${row}: ${BREACHES['head-missing']}\n`,
      err: ''
    })
  })
})

t.test(
  'the line names what retention has removed, and a noted head that was removed with it',
  async (t) => {
    const database = await openDatabase({ url: await createTestDatabase(t) })
    t.teardown(() => database.close())
    const { prisma } = database
    await fill(database)
    const [first, last] = await prisma.auditLink.findMany({ orderBy: { sequence: 'asc' } })
    const key = await auditKeyOf(prisma)
    await createAuditLinks(prisma).chainNext({ key, limit: 2 })
    const before = new Date(NINE.getTime() + 3_600_000)
    const retention = createAuditRetention(prisma)
    const outcome = await retention.removeOldest({ key, before, limit: 10, now: before })
    t.same(outcome, { removed: 2, breach: null })
    const head = await headOf(database)
    const removed = `2 earlier events removed, up to link 2, all before ${before.toISOString()}; `
    const verify = (noted: ChainHead | null) => verifyAuditTrail({ prisma, masterKeys, noted })
    const counts = '1 events verified, 0 not chained yet; '
    t.same(await verify(last ?? null), { isWhole: true, line: `${counts}${removed}head ${head}` })
    const lost = 'the noted head was removed with them, so it was not compared; '
    const line = `${counts}${removed}${lost}head ${head}`
    t.same(await verify(first ?? null), { isWhole: true, line })
  }
)

t.test('2: the trail can’t be checked, and one line gives the reason', async (t) => {
  const database = { DATABASE_URL: 'postgresql://postgres:hunter2@127.0.0.1:1/x' }
  const refused: [env: NodeJS.ProcessEnv, args: string[], said: RegExp][] = [
    [database, ['verify'], /127\.0\.0\.1:1/],
    [database, ['verify', '--head', '2'], /usage: audit verify/]
  ]
  const runs = await Promise.all(refused.map(([env, args]) => audit(env, ...args)))
  for (const [index, { code, out, err }] of runs.entries()) {
    const said = refused[index]?.[2] ?? /^$/
    t.equal(code, 2, String(said))
    t.equal(out, '')
    t.match(err, said)
    t.match(err, /^audit: not verified: [^\n]+\n$/)
    t.notMatch(err, /hunter2/, 'the line shows no password')
  }
})
