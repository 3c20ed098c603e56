// While a server is known to be unavailable, every caller is rejected immediately. If callers waited for the same
// timeout again, they would only lengthen the queue that must be processed when the server is back.
import { setTimeout as sleep } from 'node:timers/promises'

const PROBE_PAUSE_MS = 250

export interface CircuitBreakerOptions {
  /** Returns whether an error means that the next call would fail too. */
  trips(error: unknown): boolean
  /** Is called with every error of the work, in any state of the circuit. */
  onError?(error: unknown): void
  /** Resolves if the server is available. Throws within bounded time if it is not. */
  probe(): Promise<void>
  /** Is called each time the circuit opens, before any call is rejected. */
  onOpen(cause: unknown): void
  onClose(): void
  /** Returns the error that rejected calls throw. */
  refusal(cause: unknown): Error
}

export interface CircuitBreaker {
  /** Runs the work. While the circuit is open, throws the refusal and does not start the work. */
  guard<Result>(work: () => Promise<Result>): Promise<Result>
  /** Runs the work in any state of the circuit, which an error of the work can open. */
  watch<Result>(work: () => Promise<Result>): Promise<Result>
  /** Stops the probes. */
  end(): void
}

/**
 * Returns a circuit breaker that opens at the first error that trips it. It closes by itself, at most one pause and one
 * probe after the server is back.
 */
export function createCircuitBreaker({
  trips,
  onError,
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

  async function watch<Result>(work: () => Promise<Result>): Promise<Result> {
    const begunAfter = closings
    try {
      return await work()
    } catch (cause) {
      onError?.(cause)
      // Work that started before the last outage says nothing about the server's current state.
      if (!openedBy && closings === begunAfter && trips(cause)) {
        openedBy = { cause }
        onOpen(cause)
        void probeUntilClosed()
      }
      throw cause
    }
  }

  return {
    async guard(work) {
      if (openedBy) throw refusal(openedBy.cause)
      return watch(work)
    },
    watch,
    end: () => ended.abort()
  }
}
