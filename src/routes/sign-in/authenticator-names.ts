// The name of a new authenticator. The same rules apply again when the set-up is confirmed, under a lock.
import type { Subject } from '../../data/sign-in/subjects.ts'
import { Problem } from '../../wire/problem.ts'

/** NIST SP 800-63B-4 §4.1.3 requires a limit. Five allow a phone, a spare phone, a laptop and two more. */
export const AUTHENTICATORS_MAX = 5
const DEFAULT_NAME = 'Authenticator'

/**
 * Returns the wanted name, or else the name of the replaced authenticator, or else a free default name. Throws if the
 * replaced authenticator does not exist, if the user has too many authenticators, or if the name is taken.
 */
export function chooseName(
  { authenticators }: Subject,
  wanted: string | undefined,
  replaces: string | null
): string {
  const replaced = authenticators.find(({ id }) => id === replaces)
  if (replaces && !replaced) throw new Problem('authenticator-not-found')
  const others = authenticators.filter(({ id }) => id !== replaces)
  if (others.length >= AUTHENTICATORS_MAX) throw new Problem('too-many-authenticators')
  const name = wanted ?? replaced?.name ?? freeName(others.map(({ name }) => name))
  if (others.some((other) => other.name === name)) throw new Problem('name-taken')
  return name
}

function freeName(taken: string[]): string {
  const candidates = [DEFAULT_NAME, ...taken.map((_, index) => `${DEFAULT_NAME} ${index + 2}`)]
  return candidates.find((name) => !taken.includes(name)) ?? DEFAULT_NAME
}
