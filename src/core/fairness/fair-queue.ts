// Shares something scarce between keys, such as accounts: max-min fairness (Bertsekas and Gallager, Data Networks, §6.5.2).
// A key with much work gets what the others leave, and only its own work is shed. In memory and per process.

export interface FairQueueOptions {
  /** How much work may run at the same time. */
  slots: number
  /** How much work of one key may run at the same time. */
  slotsPerKey?: number
  /** How much work of a key may run at the same time instead, if no other owner of keys has asked for a turn for so long. */
  alone?: { slotsPerKey: number; afterMs: number; clockMs(): number }
  /** How much work may wait for a slot. */
  waitingMax: number
  /** How much work of one key may wait for a slot. */
  waitingPerKeyMax?: number
  /**
   * A key has stalled if none of its work has ended for so long, except work that took as long itself. Nothing more waits
   * for a key that has stalled.
   */
  stall?: { afterMs: number; clockMs(): number }
  /** Returns the error for work that is shed. */
  refusal(): Error
}

export interface FairQueue {
  /**
   * Runs the work when it is the key's turn: the keys that wait take turns, and the work of one key runs in its order.
   * Throws the refusal if the key has too much work waiting or has stalled. If too much work waits in all,
   * throws the refusal for the newest work of the key that has most of it waiting, which may be this. An owner with several
   * keys has the slots of each.
   */
  run<Result>(key: string, work: () => Promise<Result>, owner?: string): Promise<Result>
  state(): FairQueueState
}

export interface FairQueueState {
  running: number
  waiting: number
  /** Work that was refused since the start. */
  shed: number
}

interface Waiting {
  start(): void
  shed(): void
}

/** The work of a key that runs. Times are on the clock of the stall. */
interface Lane {
  running: number
  progressAtMs: number
}

export function createFairQueue(options: FairQueueOptions): FairQueue {
  const { slots, slotsPerKey = slots, waitingMax, waitingPerKeyMax = waitingMax } = options
  const { stall, alone, refusal } = options
  /** No queue is empty. The order of the keys is the order of their turns. */
  const queues = new Map<string, Waiting[]>()
  /** The keys that have work running, and keys that had some and have more of it waiting. */
  const lanes = new Map<string, Lane>()
  const clockMs = stall?.clockMs ?? (() => 0)
  let running = 0
  let waiting = 0
  let shed = 0

  let newestOwner: string | undefined
  let otherOwnerAtMs = Number.NEGATIVE_INFINITY

  function notice(owner: string): void {
    if (owner === newestOwner || !alone) return
    if (newestOwner !== undefined) otherOwnerAtMs = alone.clockMs()
    newestOwner = owner
  }

  function slotsOfKey(): number {
    const isAlone = alone && alone.clockMs() - otherOwnerAtMs > alone.afterMs
    return isAlone ? alone.slotsPerKey : slotsPerKey
  }

  function hasSlot(key: string): boolean {
    return running < slots && (lanes.get(key)?.running ?? 0) < slotsOfKey()
  }

  /** Returns the time on the clock. */
  function take(key: string): number {
    const nowMs = clockMs()
    const lane = lanes.get(key)
    if (lane) lane.running += 1
    else lanes.set(key, { running: 1, progressAtMs: nowMs })
    running += 1
    return nowMs
  }

  function release(key: string, takenAtMs: number): void {
    running -= 1
    const lane = lanes.get(key)
    if (!lane) return
    lane.running -= 1
    const nowMs = clockMs()
    if (stall && nowMs - takenAtMs <= stall.afterMs) lane.progressAtMs = nowMs
    forgetIfIdle(key)
  }

  function forgetIfIdle(key: string): void {
    if (lanes.get(key)?.running === 0 && !queues.has(key)) lanes.delete(key)
  }

  function hasStalled(key: string): boolean {
    const lane = lanes.get(key)
    return stall !== undefined && !!lane && clockMs() - lane.progressAtMs > stall.afterMs
  }

  /** Returns the key with the longest queue, of several the one whose turn comes last. */
  function longest(): string {
    let [found = ''] = queues.keys()
    for (const [key, queue] of queues) {
      if (queue.length >= (queues.get(found)?.length ?? 0)) found = key
    }
    return found
  }

  function shedNewestOf(key: string): void {
    const queue = queues.get(key)
    const newest = queue?.pop()
    if (!newest) return
    if (queue?.length === 0) queues.delete(key)
    forgetIfIdle(key)
    waiting -= 1
    shed += 1
    newest.shed()
  }

  function enqueue(key: string): Promise<number> {
    const queue = queues.get(key) ?? []
    if (queue.length >= waitingPerKeyMax || hasStalled(key)) {
      shed += 1
      throw refusal()
    }
    return new Promise((resolve, reject) => {
      queue.push({ start: () => resolve(take(key)), shed: () => reject(refusal()) })
      queues.set(key, queue)
      waiting += 1
      if (waiting > waitingMax) shedNewestOf(longest())
    })
  }

  /**
   * Returns the key whose turn it is, after work of `released` has ended. While slots are free, all other keys that wait
   * have as much work running as they may.
   */
  function nextKey(released: string): string | undefined {
    if (running + 1 < slots) return queues.has(released) && hasSlot(released) ? released : undefined
    for (const key of queues.keys()) if (hasSlot(key)) return key
    return undefined
  }

  /** Gives the slots that are free to the keys whose turn it is: more than one if a key has just come to be alone. */
  function startWaiting(released: string): void {
    let key = nextKey(released)
    while (key !== undefined) {
      startOne(key)
      key = nextKey(released)
    }
  }

  function startOne(key: string): void {
    const queue = queues.get(key)
    if (!queue) return
    const next = queue.shift()
    // At the end of the order: the key's next turn comes after one of every other key.
    queues.delete(key)
    if (queue.length > 0) queues.set(key, queue)
    waiting -= 1
    next?.start()
  }

  return {
    async run(key, work, owner = key) {
      notice(owner)
      // Work that waits goes first, also if the key has come to be alone.
      const takenAtMs = !queues.has(key) && hasSlot(key) ? take(key) : await enqueue(key)
      try {
        return await work()
      } finally {
        release(key, takenAtMs)
        startWaiting(key)
      }
    },
    state: () => ({ running, waiting, shed })
  }
}
