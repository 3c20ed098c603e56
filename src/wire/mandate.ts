// The operator's mandate, as a policy and the operator's routes show it.
import { type Static, Type } from 'typebox'
import { isPolicyLocked, type Mandate } from '../core/policy.ts'
import { Instant, Nullable } from './scalars.ts'

/** The operator's mandate as it binds an account. */
export const MandateAnswer = Type.Object({
  locked: Type.Boolean({
    description: "Whether it holds now, and the account's switch is locked."
  }),
  requiredFrom: Nullable(Instant),
  reason: Nullable(Type.String()),
  source: Type.Unsafe<'account' | 'deployment' | null>({
    type: ['string', 'null'],
    enum: ['account', 'deployment', null],
    description: 'Whom it was made for; null where there is none.'
  })
})

export function mandateAnswer(mandate: Mandate | null, now: Date): Static<typeof MandateAnswer> {
  return {
    locked: isPolicyLocked({ mandate, now }),
    requiredFrom: mandate?.requiredFrom.toISOString() ?? null,
    reason: mandate?.reason ?? null,
    source: mandate?.source ?? null
  }
}
