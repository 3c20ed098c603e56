// What is looked up when somebody asks: the state of queues, pool and dependencies at the moment of the scrape.
import { setTimeout as sleep } from 'node:timers/promises'
import type { PasswordHashing } from '../../crypto/password-hashing.ts'
import type { PoolUse } from '../../data/engine/engine.ts'
import type { ChainBacklog } from '../../data/trail/links.ts'
import type { MailBacklog } from '../../data/trail/outbox.ts'
import type { Limits } from '../limits.ts'
import type { Instruments } from './instruments.ts'

export interface StatesOptions {
  limits: Pick<Limits, 'rejections'>
  passwordHashing: Pick<PasswordHashing, 'queue'>
  /** Null where there is no pool. */
  poolUse(): PoolUse | null
  mails: { backlog(): Promise<MailBacklog> }
  links: { backlog(): Promise<ChainBacklog> }
  /** Each dependency by name; its probe throws when it can't serve. */
  dependencies: Record<string, () => Promise<void>>
  now: () => Date
}

/** Prometheus gives up after ten seconds; what has not answered in one is down, or as good as. */
const ANSWER_WITHIN_MS = 1000

export type States = ReturnType<typeof createStates>

export function createStates(instruments: Instruments, options: StatesOptions) {
  const { limits, passwordHashing, poolUse, mails, links, dependencies, now } = options

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
    instruments.mails.set({ state: 'failed' }, backlog?.failed ?? Number.NaN)
    instruments.oldestMail.set(backlog ? secondsSince(backlog.oldestWaitingAt) : Number.NaN)
  }

  async function readLinks(): Promise<void> {
    const backlog = await inTime(links.backlog())
    instruments.unsealedEvents.set(backlog?.waiting ?? Number.NaN)
    instruments.oldestUnsealedEvent.set(backlog ? secondsSince(backlog.oldestAt) : Number.NaN)
  }

  function secondsSince(at: Date | null): number {
    return at ? Math.max(0, (now().getTime() - at.getTime()) / 1000) : 0
  }

  return {
    /** Brings them up to date. Never throws, and takes a second at most: what could not be known is NaN. */
    async read(): Promise<void> {
      readPool()
      readQueues()
      await Promise.all([probeDependencies(), readMails(), readLinks()])
    }
  }
}

/** Null: it failed, or has not answered in time. */
async function inTime<T>(answer: Promise<T>): Promise<T | null> {
  const late = new AbortController()
  const tooLate = sleep(ANSWER_WITHIN_MS, null, { signal: late.signal }).catch(() => null)
  try {
    return await Promise.race([answer.catch(() => null), tooLate])
  } finally {
    late.abort()
  }
}
