// The scalars of the API. A route combines them; none belongs to a single resource.
import { Type } from 'typebox'
import { SCOPES } from '../core/bearer-keys.ts'
import { isRepresentable } from '../core/instants.ts'
import { invalidMember } from './problem.ts'

/** Refuses NUL, which PostgreSQL text can't hold, and the other control characters, which no name needs. */
const PRINTABLE = '^[^\\u0000-\\u001f\\u007f]*$'

// One spelling, since ids are compared as text too: in capitals, an admin's own id would not be their own.
export const Uuid = Type.String({
  format: 'uuid',
  pattern: '^[0-9a-f-]*$',
  maxLength: 36,
  examples: ['0198c0de-7a51-7cc2-9a3b-5b1d0c4f2e11']
})

export const Instant = Type.String({ format: 'date-time', examples: ['2026-01-05T09:00:00.000Z'] })

export const Nullable = <Schema extends Parameters<typeof Type.Union>[0][number]>(schema: Schema) =>
  Type.Union([schema, Type.Null()])

export const Slug = Type.String({ pattern: '^[a-z0-9-]{2,63}$', examples: ['acme'] })

export const Name = Type.String({
  minLength: 1,
  maxLength: 100,
  pattern: PRINTABLE,
  examples: ['Acme Inc.']
})

export const AuthenticatorName = Type.String({
  minLength: 1,
  maxLength: 50,
  pattern: PRINTABLE,
  examples: ['Phone']
})

export const Email = Type.String({
  format: 'email',
  maxLength: 254,
  description: 'Upper and lower case are the same.',
  examples: ['ada@example.com']
})

/** Long enough for any pass phrase, short enough to bound the hashing; its strength is judged apart. */
export const Password = Type.String({
  minLength: 1,
  maxLength: 1024,
  pattern: '^[^\\u0000]*$',
  examples: ['correct horse battery staple']
})

export const ExternalId = Type.String({
  minLength: 1,
  maxLength: 255,
  pattern: PRINTABLE,
  examples: ['crm-4711']
})

export const SearchText = Type.String({ minLength: 1, maxLength: 100, pattern: PRINTABLE })

export const Code = Type.String({
  pattern: '^[0-9]{6}$',
  description: 'The six digits that the authenticator app shows now.',
  examples: ['123456']
})

export const RecoveryCode = Type.String({
  minLength: 1,
  maxLength: 64,
  pattern: '^[A-Za-z0-9 -]+$',
  description: 'Case, spaces and hyphens do not count.',
  examples: ['4J7K-2M9P-XQ3R-8T5V-W1YZ-6ABC']
})

/** The same, and something to be read. */
const WORDS = '^(?=.*\\S)[^\\u0000-\\u001f\\u007f]*$'

/** Why somebody acts on somebody else, in their own words; kept with the act. */
export const GivenReason = Type.String({
  minLength: 1,
  maxLength: 500,
  pattern: WORDS,
  examples: ['Lost phone, identified in person']
})

export const Ticket = Type.String({
  minLength: 1,
  maxLength: 100,
  pattern: WORDS,
  description: 'The support case behind the act; required with the operator key.',
  examples: ['SUP-20417']
})

export const DeviceToken = Type.String({ minLength: 1, maxLength: 512, pattern: PRINTABLE })

export const Role = Type.Enum(['member', 'admin'])

export const TwoFactorPolicy = Type.Enum(['optional', 'required'])

export const Audience = Type.String({
  minLength: 1,
  maxLength: 255,
  pattern: '^[\\u0021-\\u007e]+$',
  description: 'The `aud` by which the account’s own API knows its tokens.',
  examples: ['https://api.acme.example']
})

export const ScopeList = Type.Array(Type.Enum([...SCOPES]), { minItems: 1, uniqueItems: true })

/**
 * The instant that a member names. Throws `invalid-request` where its form is right and there is none (a leap second),
 * or none that can be kept: in the first and the last year, offsets lead out of what can.
 */
export function instantOf(text: string, pointer: string): Date {
  const at = new Date(text)
  if (isRepresentable(at)) return at
  throw invalidMember(pointer, 'must be an instant such as 2026-01-05T09:00:00.000Z')
}
