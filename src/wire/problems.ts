// Every failure the API can answer, in one table: code -> status, title, what the caller can do about it.
// Answers are RFC 9457 problem documents; what went wrong inside is the log's business alone.
import { type TSchema, Type } from 'typebox'

interface ProblemKind {
  status: number
  title: string
  /** What a caller does about it; `GET /docs/problems` shows it. */
  cure: string
  /** Members beside the standard ones, by name. */
  extras?: Record<string, TSchema>
}

const attemptsRemaining = Type.Integer({
  minimum: 0,
  description: 'Guesses left before the next limit.'
})
const serverTime = Type.String({
  format: 'date-time',
  description: 'The clock that judged the code; a phone that shows another time shows other codes.'
})

const PROBLEMS = {
  'invalid-request': {
    status: 400,
    title: 'The request is not of the expected form',
    cure: 'Mend the members that `errors` points at. Nothing is coerced and unknown members are refused.',
    extras: {
      errors: Type.Array(
        Type.Object({
          pointer: Type.String({ description: 'JSON Pointer (RFC 6901) to what is wrong.' }),
          message: Type.String()
        })
      )
    }
  },
  'invalid-credential': {
    status: 401,
    title: 'The credential is not good here',
    cure: 'Sign in again, or send a live key. A step token is good on its own routes only, and once.'
  },
  'invalid-credentials': {
    status: 401,
    title: 'The account, e-mail or password is wrong',
    cure: 'Let the person try again. The answer is the same whichever of the three is wrong.'
  },
  'invalid-sso-token': {
    status: 401,
    title: 'The ID token is not good here',
    cure: 'Send the person to the identity provider again: an ID token is good once, for five minutes, for the account’s own client, with the nonce that was asked for. The audit trail says what is wrong.'
  },
  'step-up-required': {
    status: 401,
    title: 'A fresher or stronger sign-in is needed',
    cure: 'Do what `next` says, then repeat the request: `verify` a code with the same access token, `enroll` an authenticator, or `login` again.',
    extras: {
      next: Type.Enum(['verify', 'enroll', 'login'])
    }
  },
  'insufficient-scope': {
    status: 403,
    title: 'This credential is of another kind, or lacks the scope',
    cure: 'Use a credential that the operation lists, with the scope that it names.'
  },
  'limited-access': {
    status: 403,
    title: 'Limited access',
    cure: "Ask an admin of the account: this person's role does not allow it."
  },
  'policy-locked': {
    status: 403,
    title: 'The operator requires two-factor of this account',
    cure: 'Leave `twoFactor`, `requiredFrom` and `graceDays` out; `GET /v1/policy` shows the mandate with its reason.',
    extras: {
      mandate: Type.Object({
        requiredFrom: Type.String({ format: 'date-time' }),
        reason: Type.Union([Type.String(), Type.Null()]),
        source: Type.Enum(['account', 'deployment'])
      })
    }
  },
  'sso-required': {
    status: 403,
    title: 'The account signs in by single sign-on alone',
    cure: 'Send the person to the account’s identity provider, then `POST /v1/login/sso`.'
  },
  'self-reset-forbidden': {
    status: 403,
    title: 'Nobody resets their own two-factor',
    cure: 'Ask another admin of the account, or the operator’s support.'
  },
  'sso-managed': {
    status: 403,
    title: 'Single sign-on stands in for two-factor in this account',
    cure: 'Set nothing up here: the account’s identity provider asks for what it wants to see.'
  },
  'sso-not-enabled': {
    status: 403,
    title: 'The account has no single sign-on',
    cure: 'Turn single sign-on on in the account policy first.'
  },
  'authenticator-disabled': {
    status: 403,
    title: 'Codes are switched off for this user after too many wrong ones',
    cure: 'Sign in with a recovery code, or ask an admin for a reset.'
  },
  'not-found': {
    status: 404,
    title: 'Nothing is here',
    cure: 'Check the path and the id. What belongs to another account is not here either.'
  },
  'account-not-found': {
    status: 404,
    title: 'No such account',
    cure: 'Check the id against `GET /v1/accounts`.'
  },
  'user-not-found': {
    status: 404,
    title: 'No such user in this account',
    cure: 'Check the id against `GET /v1/users`.'
  },
  'authenticator-not-found': {
    status: 404,
    title: 'No such authenticator',
    cure: 'Check the id against the list of the user’s authenticators.'
  },
  'device-not-found': {
    status: 404,
    title: 'No such trusted device',
    cure: 'Check the id against the list of the user’s devices; one that has expired is gone.'
  },
  'enrollment-not-found': {
    status: 404,
    title: 'No such enrolment',
    cure: 'Start a new one with `POST /v1/enroll`; a newer enrolment discards the earlier one.'
  },
  'slug-taken': {
    status: 409,
    title: 'Another account has this slug',
    cure: 'Choose another slug.'
  },
  'email-taken': {
    status: 409,
    title: 'Another user of the account has this e-mail address',
    cure: 'Use the existing user, or another address.'
  },
  'name-taken': {
    status: 409,
    title: 'The user has an authenticator of this name',
    cure: 'Choose another name.'
  },
  'too-many-authenticators': {
    status: 409,
    title: 'The user has five authenticators',
    cure: 'Remove one, or replace one by naming it in `replaces`.'
  },
  'policy-requires-authenticator': {
    status: 409,
    title: 'Two-factor is required of this user, so one authenticator has to stay',
    cure: 'Set up another one first, or replace this one by naming it in `replaces`.'
  },
  'last-admin': {
    status: 409,
    title: 'The account would be left without an admin',
    cure: 'Make somebody else an admin first.'
  },
  'nothing-to-reset': {
    status: 409,
    title: 'The user has nothing to reset',
    cure: 'The next sign-in leads to the set-up already, where the account requires it.'
  },
  'enrollment-expired': {
    status: 410,
    title: 'The enrolment has run out',
    cure: 'Start a new one with `POST /v1/enroll`: an enrolment lasts ten minutes or ten wrong codes.'
  },
  'etag-mismatch': {
    status: 412,
    title: 'The policy has changed since it was read',
    cure: 'Read it again, and repeat the change with the new `ETag` in `If-Match`.'
  },
  'body-too-large': {
    status: 413,
    title: 'The body is larger than 16 KiB',
    cure: 'Send less.'
  },
  'unsupported-media-type': {
    status: 415,
    title: 'The body is of a media type that is not read here',
    cure: 'Send `Content-Type: application/json`.'
  },
  'code-rejected': {
    status: 422,
    title: 'The code is not good',
    cure: 'Enter the code that the app shows now: each works once, and the clock of the phone must be right.',
    extras: {
      attemptsRemaining,
      serverTime,
      clockSkewSeconds: Type.Optional(
        Type.Integer({ description: 'At set-up only: by how much the phone’s clock is ahead.' })
      )
    }
  },
  'password-rejected': {
    status: 422,
    title: 'The current password is wrong',
    cure: 'Let the person enter it again.'
  },
  'weak-password': {
    status: 422,
    title: 'The password is too easy to guess',
    cure: 'Choose a longer one; `detail` says what is wrong.'
  },
  'precondition-required': {
    status: 428,
    title: 'The request must say which version it changes',
    cure: 'Send the `ETag` of the last read in `If-Match`.'
  },
  'rate-limited': {
    status: 429,
    title: 'Too many requests',
    cure: 'Wait for `Retry-After`. `RateLimit-Remaining` shows beforehand how many are left.'
  },
  'too-many-attempts': {
    status: 429,
    title: 'Too many attempts',
    cure: 'Wait for `Retry-After`, sign in again where only the step token is spent, or use a recovery code where `recoveryOpen` says so.',
    extras: {
      scope: Type.Optional(Type.Enum(['step_token', 'user'])),
      recoveryOpen: Type.Optional(Type.Boolean())
    }
  },
  internal: {
    status: 500,
    title: 'Something is wrong on our side',
    cure: 'Report the `requestId`; the log of that request says what happened.'
  },
  unavailable: {
    status: 503,
    title: 'The service can’t answer just now',
    cure: 'Try again after `Retry-After`.'
  }
} as const satisfies Record<string, ProblemKind>

export type ProblemCode = keyof typeof PROBLEMS

export const PROBLEM_CODES = Object.keys(PROBLEMS) as ProblemCode[]

/** One entry of the table, seen through the type that all share. */
export function problemKind(code: ProblemCode): ProblemKind {
  return PROBLEMS[code]
}
