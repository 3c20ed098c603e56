// While a server is known to be of no use, whoever asks hears it at once: waiting for the same silence again would
// only make the queue longer that has to be worked off when the server is back.
import { setTimeout as sleep } from 'node:timers/promises'

const PROBE_PAUSE_MS = 250

export interface CircuitBreakerOptions {
  /** Whether an error says that the server is of no use to the next one either. */
  trips(error: unknown): boolean
  /** Resolves when the server is of use; throws, in bounded time, while it is not. */
  probe(): Promise<void>
  /** Hears of each opening, before anyone is turned away. */
  onOpen(cause: unknown): void
  onClose(): void
  /** What whoever is turned away is told. */
  refusal(cause: unknown): Error
}

export interface CircuitBreaker {
  /** Does the work, or throws the refusal without doing it while the circuit is open. */
  guard<Result>(work: () => Promise<Result>): Promise<Result>
  /** Ends the probing. */
  end(): void
}

/** Opens at the first error that trips it, and closes by itself, at the latest a pause and a probe after the server is back. */
export function createCircuitBreaker({
  trips,
  probe,
  onOpen,
  onClose,
  refusal
}: CircuitBreakerOptions): CircuitBreaker {
  let openedBy: { cause: unknown } | null = null
  let closings = 0
  const ended = new AbortController()

  async function probeUntilClosed(): Promise<void> {
    while (!ended.signal.aborted) {
      try {
        await probe()
        openedBy = null
        closings += 1
        onClose()
        return
      } catch {
        await sleep(PROBE_PAUSE_MS, undefined, { signal: ended.signal, ref: false }).catch(() => {})
      }
    }
  }

  return {
    async guard(work) {
      if (openedBy) throw refusal(openedBy.cause)
      const begunAfter = closings
      try {
        return await work()
      } catch (cause) {
        // What was begun before the server was away says nothing of it now.
        if (!openedBy && closings === begunAfter && trips(cause)) {
          openedBy = { cause }
          onOpen(cause)
          void probeUntilClosed()
        }
        throw cause
      }
    },
    end: () => ended.abort()
  }
}
