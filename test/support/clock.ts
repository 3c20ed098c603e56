/** The time of a test: stands still until it is moved. */
export interface Clock {
  now(): Date
  set(at: Date): void
  advance(by: { seconds?: number; minutes?: number }): void
}

/** Nine o'clock on a winter morning, at the very start of a time step. */
export const NINE = new Date('2026-01-05T09:00:00.000Z')

export function createClock(start: Date = NINE): Clock {
  let at = start.getTime()
  return {
    now: () => new Date(at),
    set: (instant) => {
      at = instant.getTime()
    },
    advance: ({ seconds = 0, minutes = 0 }) => {
      at += (seconds + minutes * 60) * 1000
    }
  }
}
