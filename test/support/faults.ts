// What must hold whenever something that the service depends on is away: everyone is answered within the deadline, as
// ever or with 503; nothing that was acknowledged is lost, nothing is done twice, and the service is back by itself.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { verifyAuditTrail } from '../../src/commands/audit/verify.ts'
import type { TestApp } from './app.ts'
import { verdictOf } from './guesses.ts'
import { isProblem } from './problems.ts'
import { createTraffic, type Sent, sendAll, type TrafficRequest, wasDone } from './traffic.ts'

/** What docs/operate.md promises of a recovery. */
const BACK_WITHIN_MS = 5000
/** What a busy machine may add to a deadline. */
const SLACK_MS = 700

export interface Fault {
  strike(): Promise<void> | void
  heal(): Promise<void> | void
  /** What is away then, as readiness names it; null where it is there, for some or slowly. */
  away: 'database' | 'redis' | null
  /** The requests that go on as ever, by name. */
  goesOn: readonly string[]
  /** Those of which some may be answered as ever, until it is noticed what is away. */
  mayGoOn?: readonly string[]
  /** The deadline of every answer. */
  withinMs: number
}

/**
 * Rounds of mixed traffic while the fault lasts: as it strikes, more requests at once than the pool has connections, and
 * then those who come when it is known.
 */
const WAVES = [2, 1]

/** Traffic on a service, and the faults that it survives. */
export async function createFaults(app: TestApp) {
  const { call, config, database } = app
  const traffic = await createTraffic(app)
  const done: Sent[] = []

  async function survive(t: Test, fault: Fault): Promise<void> {
    const { strike, heal, away } = fault
    await traffic.renew()
    const prepareRounds = async (count: number) => {
      const rounds: TrafficRequest[][] = []
      while (rounds.length < count) rounds.push(await traffic.prepare())
      return rounds.flat()
    }
    const afterwards = await traffic.prepare()
    const waves: TrafficRequest[][] = []
    for (const rounds of WAVES) waves.push(await prepareRounds(rounds))

    await strike()
    const sent: Sent[] = []
    for (const wave of waves) {
      const answers = sendAll(wave)
      if (away && sent.length === 0) await isAway(t, away)
      sent.push(...(await answers))
    }
    isAnsweredInTime(t, fault, sent)

    await heal()
    const healedAt = performance.now()
    await isReady(healedAt)
    await isConsistent(t, sent)
    for (const each of await sendAll(afterwards)) {
      t.ok(wasDone(each), `${each.request.name} afterwards: ${each.verdict}`)
      done.push(each)
    }
    const tookMs = Math.round(performance.now() - healedAt)
    t.ok(tookMs < BACK_WITHIN_MS, `back by itself after ${tookMs} ms`)
  }

  async function isAway(t: Test, dependency: string): Promise<void> {
    t.equal(verdictOf(await call('GET', '/health/live')), '200', 'alive')
    const ready = await call('GET', '/health/ready')
    t.match(isProblem(t, ready, 503, 'unavailable'), { detail: `Not ready: ${dependency}.` })
  }

  function isAnsweredInTime(t: Test, fault: Fault, sent: Sent[]): void {
    const { away, goesOn, mayGoOn = [], withinMs } = fault
    for (const { request, answer, verdict, tookMs } of sent) {
      const { name } = request
      if (tookMs > withinMs + SLACK_MS) t.fail(`${name} took ${tookMs} ms`)
      if (answer.statusCode === 503) {
        isProblem(t, answer, 503, 'unavailable')
        t.ok(Number(answer.headers['retry-after']) > 0, `${name}: Retry-After`)
        t.notOk(goesOn.includes(name), `${name}: ${verdict}`)
      } else {
        t.ok(answer.statusCode < 300, `${name}: ${verdict}`)
        t.ok(!away || [...goesOn, ...mayGoOn].includes(name), `${name} was answered`)
      }
    }
    const slowest = Math.max(...sent.map(({ tookMs }) => tookMs))
    const refused = sent.filter(({ answer }) => answer.statusCode === 503).length
    t.comment(`503 for ${refused} of ${sent.length}, the slowest after ${Math.round(slowest)} ms`)
  }

  async function isReady(since: number): Promise<void> {
    while ((await call('GET', '/health/ready')).statusCode !== 200) {
      if (performance.now() - since > 2 * BACK_WITHIN_MS) return
      await sleep(20)
    }
  }

  /** Who got no answer asks again, and who got one finds it done. */
  async function isConsistent(t: Test, sent: readonly Sent[]): Promise<void> {
    for (const earlier of sent) {
      const { request } = earlier
      const [again] = await sendAll([request])
      if (!again) continue
      if (wasDone(earlier)) {
        t.equal(again.verdict, request.afterwards, `${request.name}, done before`)
        done.push(earlier)
      } else {
        const isFine = wasDone(again) || again.verdict === request.afterwards
        t.ok(isFine, `${request.name}, unanswered before: ${again.verdict}`)
        if (wasDone(again)) done.push(again)
      }
    }
  }

  /** Every act that was acknowledged is on record, tokens work that were issued, and the record is whole. */
  async function isOnRecord(t: Test): Promise<void> {
    const { prisma } = database
    const rows = await prisma.auditEvent.findMany({ where: { outcome: 'succeeded' } })
    const onRecord = new Set(rows.map(({ requestId }) => requestId))
    const acts = done.filter(({ request }) => request.isAct)
    const lost = acts.filter(({ answer }) => !onRecord.has(String(answer.headers['x-request-id'])))
    t.same(
      lost.map(({ request }) => request.name),
      [],
      `${acts.length} acts on record`
    )
    const record = await verifyAuditTrail({ prisma, masterKeys: config.masterKeys, noted: null })
    t.ok(record.isWhole, record.line)
  }

  return { survive, isOnRecord }
}
