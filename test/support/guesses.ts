import type { EnrolledUser } from './app.ts'
import type { Answer } from './calls.ts'
import { codeAt } from './rfc6238.ts'

const PERIOD_SECONDS = 30
/** Has the form of a recovery code, but belongs to no user. */
export const WRONG_RECOVERY_CODE = 'AAAA-BBBB-CCCC-DDDD-EEEE-FFFF'

/** Returns a code that is wrong at an instant and in the next minutes, for every secret. */
export function wrongCode({ secret }: Pick<EnrolledUser, 'secret'>, at: Date): string {
  const steps = Array.from({ length: 25 }, (_, index) => index - 4)
  const right = steps.map((step) =>
    codeAt({ secret }, new Date(at.getTime() + step * PERIOD_SECONDS * 1000))
  )
  const candidates = Array.from({ length: right.length + 1 }, (_, index) => String(100_000 + index))
  return candidates.find((candidate) => !right.includes(candidate)) ?? ''
}

/** Returns the verdict of a response: `200`, or the status and the code of the problem. */
export function verdictOf({ statusCode, body }: Answer): string {
  if (statusCode < 400) return String(statusCode)
  return `${statusCode} ${JSON.parse(body).code}`
}

/** Returns how often each verdict occurs. */
export function tally(answers: Answer[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const verdict of answers.map(verdictOf)) counts[verdict] = (counts[verdict] ?? 0) + 1
  return counts
}
