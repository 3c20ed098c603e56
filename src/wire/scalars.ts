// The scalars that several routes share.
import { Type } from 'typebox'
import { SCOPES } from '../core/bearer-keys.ts'
import { isRepresentable } from '../core/instants.ts'
import { DEVICE_TOKEN } from './examples.ts'
import { invalidMember } from './problem.ts'

/** Rejects NUL, which PostgreSQL text cannot store, and the other control characters, which no name needs. */
const PRINTABLE = '^[^\\u0000-\\u001f\\u007f]*$'

// Ids are also compared as text, so input is brought to lower case: in upper case, an admin's own id would not count as
// their own.
export const Uuid = Type.String({
  'x-input': 'uuid',
  format: 'uuid',
  pattern: '^[0-9a-f-]*$',
  maxLength: 36,
  examples: ['0198c0de-7a51-7cc2-9a3b-5b1d0c4f2e11']
})

export const Instant = Type.String({ format: 'date-time', examples: ['2026-01-05T09:00:00.000Z'] })

export const Nullable = <Schema extends Parameters<typeof Type.Union>[0][number]>(schema: Schema) =>
  Type.Union([schema, Type.Null()])

export const Slug = Type.String({ pattern: '^[a-z0-9-]{2,63}$', examples: ['acme'] })

/** Reorders the text around it, or has no width: a name with it can look like another name. */
const MISLEADING = '\\u061c\\u200b\\u200e\\u200f\\u202a-\\u202e\\u2060-\\u2069\\ufeff'
/** Letters that are drawn as a blank. */
const BLANK_LETTERS = '\\u115f\\u1160\\u2800\\u3164\\uffa0'

/** The name of an account is the issuer in authenticator apps, so it shows something, and shows it as it is. */
export const Name = Type.String({
  minLength: 1,
  maxLength: 100,
  pattern: `^(?=.*[^\\s:${BLANK_LETTERS}])[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029${MISLEADING}]*$`,
  examples: ['Acme Inc.']
})

/**
 * Returns the pattern of a name that people see in an authenticator app. At least one character is visible and no colon. A
 * character that changes the reading direction can make one name look like another. The two joiners are allowed, because
 * Persian and emoji need them.
 */
function shownName(alsoExcluded: string): string {
  const invisible = '\\p{Cc}\\p{Cf}\\p{Co}\\p{Cs}\\p{Zl}\\p{Zp}\\u115f\\u1160\\u2800\\u3164\\uffa0'
  return `^(?=.*(?!:)[\\p{L}\\p{N}\\p{P}\\p{S}])(?:[^${alsoExcluded}${invisible}]|[\\u200c\\u200d])*$`
}

export const AccountName = Type.String({
  minLength: 1,
  maxLength: 100,
  pattern: shownName(''),
  examples: ['Acme Inc.']
})

export const IssuerName = Type.String({
  minLength: 1,
  maxLength: 64,
  // A colon separates issuer and account in the app.
  pattern: shownName(':'),
  description: 'The issuer that authenticator apps show.',
  examples: ['Acme']
})

export const AuthenticatorName = Type.String({
  minLength: 1,
  maxLength: 50,
  pattern: PRINTABLE,
  examples: ['Phone']
})

export const Email = Type.String({
  'x-input': 'email',
  format: 'idn-email',
  maxLength: 254,
  description:
    'Case and surrounding spaces are ignored. The part before the `@` can have letters and digits of all scripts, and is returned in Unicode normalization form C. A domain in letters of other scripts is returned in its ASCII form.',
  examples: ['ada@example.com']
})

/** Long enough for any pass phrase and short enough to limit the cost of hashing. Its strength is checked separately. */
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

export const SearchText = Type.String({
  'x-input': 'search',
  minLength: 1,
  maxLength: 100,
  pattern: PRINTABLE
})

export const Code = Type.String({
  pattern: '^[0-9]{6}$',
  description: 'The six digits that the authenticator app shows now.',
  examples: ['123456']
})

export const RecoveryCode = Type.String({
  minLength: 1,
  maxLength: 64,
  pattern: '^[A-Za-z0-9\\s-]+$',
  description: 'Case, white space and hyphens are ignored.',
  examples: ['4J7K-2M9P-XQ3R-8T5V-W1YZ-6ABC']
})

/** Printable, with at least one character that is not a space. */
const WORDS = '^(?=.*\\S)[^\\u0000-\\u001f\\u007f]*$'

/** The reason that an actor gives for an act on another user. It is stored in the audit trail. */
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
  description: 'The support case behind the act. Required with the operator key.',
  examples: ['SUP-20417']
})

export const DeviceToken = Type.String({
  minLength: 1,
  maxLength: 512,
  pattern: PRINTABLE,
  description: 'The `deviceToken` of the last sign-in on this device, if it was trusted.',
  examples: [DEVICE_TOKEN]
})

export const Role = Type.Enum(['member', 'admin'])

export const TwoFactorPolicy = Type.Enum(['optional', 'required'])

export const Audience = Type.String({
  minLength: 1,
  maxLength: 255,
  pattern: '^[\\u0021-\\u007e]+$',
  description: 'The `aud` of access tokens that the API of the account expects.',
  examples: ['https://api.acme.example']
})

export const ScopeList = Type.Array(Type.Enum([...SCOPES]), { minItems: 1, uniqueItems: true })

/**
 * Returns the instant of a field. Throws `invalid-request` for an instant that does not exist (a leap second) or that the
 * database cannot store: in the first and the last year, an offset can lead to another year.
 */
export function instantOf(text: string, pointer: string): Date {
  const at = new Date(text)
  if (isRepresentable(at)) return at
  throw invalidMember(pointer, 'must be an instant such as 2026-01-05T09:00:00.000Z')
}
