// Reads the state of queues, pool and dependencies at the moment of a scrape.
import { setTimeout as sleep } from 'node:timers/promises'
import type { PasswordHashing } from '../../crypto/password-hashing.ts'
import type { PoolUse } from '../../data/engine/engine.ts'
import type { ChainBacklog } from '../../data/trail/links.ts'
import type { MailBacklog } from '../../data/trail/outbox.ts'
import type { RequestTurns } from '../limits/turns.ts'
import type { Limits } from '../limits.ts'
import type { Instruments } from './instruments.ts'

export interface StatesOptions {
  limits: Pick<Limits, 'rejections'>
  passwordHashing: Pick<PasswordHashing, 'queue'>
  requestTurns: Pick<RequestTurns, 'state'>
  /** Returns null if there is no pool. */
  poolUse(): PoolUse | null
  mails: { backlog(): Promise<MailBacklog> }
  links: { backlog(): Promise<ChainBacklog> }
  /** Each dependency by name. Its probe throws if the dependency is unavailable. */
  dependencies: Record<string, () => Promise<void>>
  now: () => Date
}

/** Prometheus waits ten seconds for a scrape. A dependency that needs more than one second counts as down. */
const RESPOND_WITHIN_MS = 1000

export function createStates(instruments: Instruments, options: StatesOptions) {
  const { limits, passwordHashing, requestTurns, poolUse, mails, links, dependencies, now } =
    options

  function readQueues(): void {
    const { limitHits, passwordHashes, passwordHashesShed } = instruments
    limitHits.reset()
    for (const [limit, hits] of Object.entries(limits.rejections)) limitHits.inc({ limit }, hits)
    const { running, waiting, shed } = passwordHashing.queue()
    passwordHashes.set({ state: 'running' }, running)
    passwordHashes.set({ state: 'waiting' }, waiting)
    passwordHashesShed.reset()
    passwordHashesShed.inc(shed)
  }

  function readTurns(): void {
    const { requestsInTurn, requestsShed } = instruments
    const { users, accounts, secondSteps } = requestTurns.state()
    requestsShed.reset()
    for (const [queue, state] of Object.entries({ users, accounts, second_steps: secondSteps })) {
      requestsInTurn.set({ queue, state: 'running' }, state.running)
      requestsInTurn.set({ queue, state: 'waiting' }, state.waiting)
      requestsShed.inc({ queue }, state.shed)
    }
  }

  function readPool(): void {
    const { connections, connectionsMax, connectionsWaiting } = instruments
    const use = poolUse()
    if (!use) return
    connections.set({ state: 'busy' }, use.busy)
    connections.set({ state: 'idle' }, use.idle)
    connectionsMax.set(use.max)
    connectionsWaiting.set(use.waiting)
  }

  async function probeDependencies(): Promise<void> {
    const probes = Object.entries(dependencies).map(async ([dependency, probe]) => {
      const isUp = (await inTime(probe().then(() => true))) ?? false
      instruments.dependencyUp.set({ dependency }, Number(isUp))
    })
    await Promise.all(probes)
  }

  async function readMails(): Promise<void> {
    const backlog = await inTime(mails.backlog())
    instruments.mails.set({ state: 'waiting' }, backlog?.waiting ?? Number.NaN)
    instruments.mails.set({ state: 'held' }, backlog?.held ?? Number.NaN)
    instruments.mails.set({ state: 'failed' }, backlog?.failed ?? Number.NaN)
    instruments.oldestMail.set(backlog ? secondsSince(backlog.oldestWaitingAt) : Number.NaN)
  }

  async function readLinks(): Promise<void> {
    const backlog = await inTime(links.backlog())
    instruments.unchainedEvents.set(backlog?.waiting ?? Number.NaN)
    instruments.oldestUnchainedEvent.set(backlog ? secondsSince(backlog.oldestAt) : Number.NaN)
  }

  function secondsSince(at: Date | null): number {
    return at ? Math.max(0, (now().getTime() - at.getTime()) / 1000) : 0
  }

  return {
    /** Updates the metrics. Never throws, and takes at most one second. An unknown value becomes NaN. */
    async read(): Promise<void> {
      readPool()
      readQueues()
      readTurns()
      await Promise.all([probeDependencies(), readMails(), readLinks()])
    }
  }
}

/** Returns null if the promise rejects or takes too long. */
async function inTime<T>(result: Promise<T>): Promise<T | null> {
  const late = new AbortController()
  const tooLate = sleep(RESPOND_WITHIN_MS, null, { signal: late.signal }).catch(() => null)
  try {
    return await Promise.race([result.catch(() => null), tooLate])
  } finally {
    late.abort()
  }
}
