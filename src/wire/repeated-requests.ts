// The headers of requests that a client can repeat.
import { type Static, Type } from 'typebox'

/** The header of the response to a repetition. Stripe and other services use the same name. */
export const REPLAYED_HEADER = 'idempotent-replayed'

export const IdempotencyKey = Type.Object({
  'idempotency-key': Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 255,
      pattern: '^[\\u0020-\\u007e]*$',
      description:
        'Makes the request safe to repeat: for 24 hours, a request with the same key and the same body gets the same response, and nothing is created again. Use a random value, such as a UUID, for each new request.',
      examples: ['8e03978e-40d5-43e8-bc93-6894a57f9324']
    })
  )
})
export type IdempotencyKey = Static<typeof IdempotencyKey>
