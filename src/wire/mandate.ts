// The mandate of the operator, as the routes of policies and of accounts return it.
import { type Static, Type } from 'typebox'
import { isPolicyLocked, type Mandate } from '../core/policy.ts'
import { Instant, Nullable } from './scalars.ts'

export const MandateAnswer = Type.Object(
  {
    locked: Type.Boolean({
      description:
        'Whether the mandate is in force and locks the two-factor settings of the account.'
    }),
    requiredFrom: Nullable(Instant),
    reason: Nullable(Type.String()),
    source: Type.Unsafe<'account' | 'deployment' | null>({
      type: ['string', 'null'],
      enum: ['account', 'deployment', null],
      description:
        'Whether the mandate applies to this account or to the whole deployment. Null without a mandate.'
    })
  },
  { title: 'Mandate' }
)

/** Returns the representation of a mandate, or of no mandate, at an instant. */
export function mandateAnswer(mandate: Mandate | null, now: Date): Static<typeof MandateAnswer> {
  return {
    locked: isPolicyLocked({ mandate, now }),
    requiredFrom: mandate?.requiredFrom.toISOString() ?? null,
    reason: mandate?.reason ?? null,
    source: mandate?.source ?? null
  }
}
