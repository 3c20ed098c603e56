// What must hold while a dependency of the service is unavailable: every request gets a response, the usual one or 503.
// No acknowledged act is lost, no act is done twice, and the service recovers by itself. How long each response took is
// printed, not judged: the deadline has tests of its own (test/plugins/deadline.test.ts).
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { verifyAuditTrail } from '../../src/commands/audit/verify.ts'
import type { TestApp } from './app.ts'
import { verdictOf } from './guesses.ts'
import { isProblem } from './problems.ts'
import { createTraffic, type Sent, sendAll, type TrafficRequest, wasDone } from './traffic.ts'

export interface Fault {
  strike(): Promise<void> | void
  heal(): Promise<void> | void
  /** The unavailable dependency, by its name in readiness. Null if it is slow, or unavailable only at times. */
  away: 'database' | 'redis' | null
  /** The names of the requests that succeed as usual. */
  goesOn: readonly string[]
  /** Whether some requests must get 503, although nothing is unavailable for all of them. */
  mustReject?: boolean
  /** The names of the requests that may succeed until the service detects the fault. */
  mayGoOn?: readonly string[]
}

/**
 * Rounds of mixed traffic in each wave during the fault. The first wave starts with the fault, and has more concurrent
 * requests than the pool has connections. The second starts when the service has detected the fault.
 */
const WAVES = [2, 1]

/** Creates traffic on a service, and functions that check how the service survives faults. */
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
    isAnswered(t, fault, sent)

    await heal()
    const healedAt = performance.now()
    await isReady()
    t.comment(`ready again after ${Math.round(performance.now() - healedAt)} ms`)
    await isConsistent(t, sent)
    for (const { sent: each, wasUnavailable } of await Promise.all(afterwards.map(untilServed))) {
      const { name, afterwards: repeated } = each.request
      // A request that got 503 may have been carried out, and then its repetition says so.
      const isDone = wasDone(each) || (wasUnavailable && each.verdict === repeated)
      t.ok(isDone, `${name} afterwards: ${each.verdict}`)
      if (wasDone(each)) done.push(each)
    }
  }

  async function isAway(t: Test, dependency: string): Promise<void> {
    t.equal(verdictOf(await call('GET', '/health/live')), '200', 'alive')
    const ready = await call('GET', '/health/ready')
    t.match(isProblem(t, ready, 503, 'unavailable'), { detail: `Not ready: ${dependency}.` })
  }

  function isAnswered(t: Test, fault: Fault, sent: Sent[]): void {
    const { away, goesOn, mayGoOn = [] } = fault
    for (const { request, answer, verdict } of sent) {
      const { name } = request
      if (answer.statusCode === 503) {
        isProblem(t, answer, 503, 'unavailable')
        t.ok(Number(answer.headers['retry-after']) > 0, `${name}: Retry-After`)
        t.notOk(goesOn.includes(name), `${name}: ${verdict}`)
      } else {
        t.ok(answer.statusCode < 300, `${name}: ${verdict}`)
        t.ok(!away || [...goesOn, ...mayGoOn].includes(name), `${name} succeeded`)
      }
    }
    const slowest = Math.max(...sent.map(({ tookMs }) => tookMs))
    const refused = sent.filter(({ answer }) => answer.statusCode === 503).length
    if (fault.mustReject) t.ok(refused > 0, 'the deadline ends what takes too long')
    t.comment(`503 for ${refused} of ${sent.length}, the slowest after ${Math.round(slowest)} ms`)
  }

  async function isReady(): Promise<void> {
    while ((await call('GET', '/health/ready')).statusCode !== 200) await sleep(20)
  }

  /** Sends a request again until the response is not 503, as a client does. */
  async function untilServed(request: TrafficRequest) {
    for (let wasUnavailable = false; ; wasUnavailable = true) {
      const [sent] = await sendAll([request])
      if (sent && sent.answer.statusCode !== 503) return { sent, wasUnavailable }
      await sleep(20)
    }
  }

  /** Sends every request again: an act that succeeded before must be done, and any other one must succeed now. */
  async function isConsistent(t: Test, sent: readonly Sent[]): Promise<void> {
    for (const earlier of sent) {
      const { request } = earlier
      const { sent: again } = await untilServed(request)
      if (wasDone(earlier)) {
        t.equal(again.verdict, request.afterwards, `${request.name}, done before`)
        done.push(earlier)
      } else {
        const isFine = wasDone(again) || again.verdict === request.afterwards
        t.ok(isFine, `${request.name}, not confirmed before: ${again.verdict}`)
        if (wasDone(again)) done.push(again)
      }
    }
  }

  /** Checks that every acknowledged act is audited, and that the audit trail is complete. */
  async function isOnRecord(t: Test): Promise<void> {
    const { prisma } = database
    const rows = await prisma.auditEvent.findMany({ where: { outcome: 'succeeded' } })
    const audited = new Set(rows.map(({ requestId }) => requestId))
    const acts = done.filter(({ request }) => request.isAct)
    const lost = acts.filter(({ answer }) => !audited.has(String(answer.headers['x-request-id'])))
    t.same(
      lost.map(({ request }) => request.name),
      [],
      `${acts.length} acts are audited`
    )
    const trail = await verifyAuditTrail({ prisma, masterKeys: config.masterKeys, noted: null })
    t.ok(trail.isWhole, trail.line)
  }

  return { survive, isOnRecord }
}
