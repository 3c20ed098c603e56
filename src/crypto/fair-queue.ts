// Shares something scarce between keys, such as accounts: max-min fairness (Bertsekas and Gallager, Data Networks, §6.5.2).
// A key with much work gets what the others leave, and only its own work is shed. In memory and per process.

export interface FairQueueOptions {
  /** How much work may run at the same time. */
  slots: number
  /** How much work may wait for a slot. */
  waitingMax: number
  /** Returns the error for work that is shed. */
  refusal(): Error
}

export interface FairQueue {
  /**
   * Runs the work when it is the key's turn: the keys that wait take turns, and the work of one key runs in its order. If
   * too much work waits, throws the refusal for the newest work of the key that has most of it waiting, which may be this.
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

export function createFairQueue(options: FairQueueOptions): FairQueue {
  const { slots, waitingMax, refusal } = options
  /** No queue is empty. The order of the keys is the order of their turns. */
  const queues = new Map<string, Waiting[]>()
  let running = 0
  let waiting = 0
  let shed = 0

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

  function enqueue(key: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const queue = queues.get(key) ?? []
      queue.push({ start: resolve, shed: () => reject(refusal()) })
      queues.set(key, queue)
      waiting += 1
      if (waiting > waitingMax) shedNewestOf(longest())
    })
  }

  /** Gives the slot that has become free to the key whose turn it is. */
  function startNext(): void {
    const [turn] = queues
    if (!turn) return
    const [key, queue] = turn
    const next = queue.shift()
    // At the end of the order: the key's next turn comes after one of every other key.
    queues.delete(key)
    if (queue.length > 0) queues.set(key, queue)
    waiting -= 1
    running += 1
    next?.start()
  }

  return {
    async run(key, work) {
      if (running < slots) running += 1
      else await enqueue(key)
      try {
        return await work()
      } finally {
        running -= 1
        startNext()
      }
    },
    state: () => ({ running, waiting, shed })
  }
}
