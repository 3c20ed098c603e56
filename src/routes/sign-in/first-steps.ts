// The first step of the session that a second step or a set-up continues.
import type { FirstStep } from '../../core/claims.ts'
import type { Credential } from '../../plugins/credentials.ts'
import { stepUpRequired } from '../../wire/problem.ts'

/** Returns the first step before a token. Throws `step-up-required` if the token does not say when that was. */
export function firstStepOf({
  claims: { amr },
  firstFactor
}: Extract<Credential, { kind: 'step' | 'accessToken' }>): FirstStep {
  if (!firstFactor) throw stepUpRequired('login')
  return { amr, firstFactor }
}
