// Shares something scarce between keys, such as accounts: max-min fairness (Bertsekas and Gallager, Data Networks, §6.5.2).
// A key with much work gets what the others leave, and only its own work is shed. In memory and per process.

export interface FairQueueOptions {
  /** How much work may run at the same time. */
  slots: number
  /** How much work of one key may run at the same time. */
  slotsPerKey?: number
  /** How much work may wait for a slot. */
  waitingMax: number
  /** How much work of one key may wait for a slot. */
  waitingPerKeyMax?: number
  /** Work of a key does not wait behind work of this key that has run for longer. */
  stall?: { afterMs: number; clockMs(): number }
  /** Returns the error for work that is shed. */
  refusal(): Error
}

export interface FairQueue {
  /**
   * Runs the work when it is the key's turn: the keys that wait take turns, and the work of one key runs in its order.
   * Throws the refusal if the key has too much work waiting or its running work has stalled. If too much work waits in all,
   * throws the refusal for the newest work of the key that has most of it waiting, which may be this.
   */
  run<Result>(key: string, work: () => Promise<Result>): Promise<Result>
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

/** Work that runs. `sinceMs` is on the clock of the stall. */
interface Running {
  sinceMs: number
}

export function createFairQueue(options: FairQueueOptions): FairQueue {
  const { slots, slotsPerKey = slots, waitingMax, waitingPerKeyMax = waitingMax } = options
  const { stall, refusal } = options
  /** No queue is empty. The order of the keys is the order of their turns. */
  const queues = new Map<string, Waiting[]>()
  /** No set is empty. The oldest work of a key comes first. */
  const runningOf = new Map<string, Set<Running>>()
  let running = 0
  let waiting = 0
  let shed = 0

  function hasSlot(key: string): boolean {
    return running < slots && (runningOf.get(key)?.size ?? 0) < slotsPerKey
  }

  function take(key: string): Running {
    const work = { sinceMs: stall?.clockMs() ?? 0 }
    const ofKey = runningOf.get(key)
    if (ofKey) ofKey.add(work)
    else runningOf.set(key, new Set([work]))
    running += 1
    return work
  }

  function release(key: string, work: Running): void {
    const ofKey = runningOf.get(key)
    ofKey?.delete(work)
    if (ofKey?.size === 0) runningOf.delete(key)
    running -= 1
  }

  function hasStalled(key: string): boolean {
    if (!stall) return false
    const [oldest] = runningOf.get(key) ?? []
    return oldest !== undefined && stall.clockMs() - oldest.sinceMs > stall.afterMs
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
    waiting -= 1
    shed += 1
    newest.shed()
  }

  function enqueue(key: string): Promise<Running> {
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
    if (running + 1 < slots) return queues.has(released) ? released : undefined
    for (const key of queues.keys()) if (hasSlot(key)) return key
    return undefined
  }

  /** Gives the slot that has become free to the key whose turn it is. */
  function startNext(released: string): void {
    const key = nextKey(released)
    const queue = key === undefined ? undefined : queues.get(key)
    if (key === undefined || !queue) return
    const next = queue.shift()
    // At the end of the order: the key's next turn comes after one of every other key.
    queues.delete(key)
    if (queue.length > 0) queues.set(key, queue)
    waiting -= 1
    next?.start()
  }

  return {
    async run(key, work) {
      const held = hasSlot(key) ? take(key) : await enqueue(key)
      try {
        return await work()
      } finally {
        release(key, held)
        startNext(key)
      }
    },
    state: () => ({ running, waiting, shed })
  }
}
