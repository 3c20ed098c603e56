// Every problem of the API, in one table: code, status, title, and what the caller can do about it. Problems are sent as
// RFC 9457 documents. They never describe internal errors, which only the log does.
import { type TSchema, Type } from 'typebox'
import { Support } from './support.ts'

interface ProblemKind {
  status: number
  title: string
  /** What the caller can do. `GET /docs/problems` shows it. */
  cure: string
  /** Fields in addition to the standard ones, by name. */
  extras?: Record<string, TSchema>
}

const attemptsRemaining = Type.Integer({
  minimum: 0,
  description: 'How many more wrong codes are judged before the next limit.'
})
const serverTime = Type.String({
  format: 'date-time',
  description:
    'The time by which the service judged the code. A phone with another time shows other codes.'
})

/** Of the problems that a user may need help with. Absent if neither the account nor the deployment has a contact. */
const support = Type.Optional(Support)

const PROBLEMS = {
  'invalid-request': {
    status: 400,
    title: 'The request is invalid',
    cure: 'Fix the fields listed in `errors`. Values are not coerced, and unknown fields are rejected.',
    extras: {
      errors: Type.Array(
        Type.Object(
          {
            pointer: Type.String({ description: 'JSON Pointer (RFC 6901) to the invalid field.' }),
            message: Type.String()
          },
          { title: 'FieldError' }
        )
      )
    }
  },
  'invalid-credential': {
    status: 401,
    title: 'The credential is invalid, expired or not accepted on this route',
    cure: 'Sign in again, or send a valid key. A step token is accepted only on its own routes, and only until its first success.'
  },
  'invalid-credentials': {
    status: 401,
    title: 'The account, e-mail address or password is wrong',
    cure: 'Let the user try again. The response is the same, whichever of the three is wrong.'
  },
  'invalid-sso-token': {
    status: 401,
    title: 'The ID token is invalid, expired or already used',
    cure: 'Send the user to the identity provider again. An ID token is accepted once, and for at most ten minutes after its issue, only from the account’s own client and with the requested nonce. The audit event contains the reason.'
  },
  'step-up-required': {
    status: 401,
    title: 'A fresher or stronger sign-in is required',
    cure: 'Do what `next` says, then repeat the request. `verify`: send a code with the same access token. `enroll`: set up an authenticator. `login`: sign in again, because no step-up can extend this session.',
    extras: {
      next: Type.Enum(['verify', 'enroll', 'login'])
    }
  },
  'insufficient-scope': {
    status: 403,
    title: 'The credential is of the wrong kind, or lacks the scope',
    cure: 'Use a credential that the operation lists, with the scope that it names.'
  },
  'limited-access': {
    status: 403,
    title: 'Limited access',
    cure: 'Ask an admin of the account. The role of this user does not allow the request. `support` names whom a user can ask.',
    extras: { support }
  },
  'policy-locked': {
    status: 403,
    title: 'The operator requires two-factor for this account',
    cure: 'Omit `twoFactor`, `requiredFrom` and `graceDays`. `GET /v1/policy` shows the mandate and its reason.',
    extras: {
      mandate: Type.Object(
        {
          requiredFrom: Type.String({ format: 'date-time' }),
          reason: Type.Union([Type.String(), Type.Null()]),
          source: Type.Enum(['account', 'deployment'])
        },
        { title: 'MandateInForce' }
      ),
      support
    }
  },
  'sso-required': {
    status: 403,
    title: 'The account requires single sign-on',
    cure: 'Send the user to the account’s identity provider, then use `POST /v1/login/sso`.',
    extras: { support }
  },
  'self-reset-forbidden': {
    status: 403,
    title: 'Users can’t reset their own two-factor',
    cure: 'Ask another admin of the account, or the operator’s support.'
  },
  'sso-managed': {
    status: 403,
    title: 'The account uses single sign-on instead of two-factor',
    cure: 'Set up nothing here. The account’s identity provider decides which factors it asks for.'
  },
  'sso-not-enabled': {
    status: 403,
    title: 'Single sign-on is not enabled for this account',
    cure: 'Turn single sign-on on in the policy of the account first.'
  },
  'authenticator-disabled': {
    status: 403,
    title: 'Codes are disabled for this user after too many wrong ones',
    cure: 'Sign in with a recovery code, or ask an admin for a reset.',
    extras: { support }
  },
  'not-found': {
    status: 404,
    title: 'Nothing was found',
    cure: 'Check the path and the id. Objects of other accounts are reported as not found too.'
  },
  'account-not-found': {
    status: 404,
    title: 'The account was not found',
    cure: 'Check the id against `GET /v1/accounts`.'
  },
  'user-not-found': {
    status: 404,
    title: 'The user was not found in this account',
    cure: 'Check the id against `GET /v1/users`.'
  },
  'authenticator-not-found': {
    status: 404,
    title: 'The authenticator was not found',
    cure: 'Check the id against the list of the user’s authenticators.'
  },
  'device-not-found': {
    status: 404,
    title: 'The trusted device was not found',
    cure: 'Check the id against the list of the user’s devices. Expired devices are deleted.'
  },
  'sso-identity-not-found': {
    status: 404,
    title: 'The SSO identity was not found',
    cure: 'Check the id against the list of the user’s SSO identities.'
  },
  'enrollment-not-found': {
    status: 404,
    title: 'The enrollment was not found',
    cure: 'Start a new one with `POST /v1/enroll`. A new enrollment replaces the previous one.'
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
  'sso-identity-taken': {
    status: 409,
    title: 'Another user is linked to this subject',
    cure: 'Check the subject, or remove the link of the other user first.'
  },
  'name-taken': {
    status: 409,
    title: 'The user already has an authenticator with this name',
    cure: 'Choose another name.'
  },
  'too-many-authenticators': {
    status: 409,
    title: 'The user already has five authenticators',
    cure: 'Remove one, or replace one by naming it in `replaces`.'
  },
  'too-many-generations': {
    status: 409,
    title: 'The API key belongs to the sixteenth generation and cannot create another key',
    cure: 'Create the key with the operator key, or with an API key of an earlier generation. `createdBy` names the key that created a key.'
  },
  'policy-requires-authenticator': {
    status: 409,
    title: 'Two-factor is required for this user, so the last authenticator must stay',
    cure: 'Set up another one first, or replace this one by naming it in `replaces`.'
  },
  'last-admin': {
    status: 409,
    title: 'The account would be left without an admin',
    cure: 'Make another user an admin first.'
  },
  'nothing-to-reset': {
    status: 409,
    title: 'The user has nothing to reset',
    cure: 'Let the user sign in. If the account requires two-factor, the next sign-in leads to the set-up.'
  },
  'idempotency-key-in-use': {
    status: 409,
    title: 'The first request with this idempotency key is not complete yet',
    cure: 'Wait for `Retry-After`, then repeat the request with the same key and the same body.'
  },
  'enrollment-expired': {
    status: 410,
    title: 'The enrollment has expired',
    cure: 'Start a new one with `POST /v1/enroll`. An enrollment expires after ten minutes or ten wrong codes.'
  },
  'etag-mismatch': {
    status: 412,
    title: 'The policy has changed since it was read',
    cure: 'Read it again, and repeat the change with the new `ETag` in `If-Match`.'
  },
  'body-too-large': {
    status: 413,
    title: 'The body is too large',
    cure: 'Send at most 16 KiB, or 64 KiB to `POST /v1/login/sso`.'
  },
  'unsupported-media-type': {
    status: 415,
    title: 'The media type of the body is not supported',
    cure: 'Send `Content-Type: application/json`, and no `Content-Encoding`.'
  },
  'expectation-failed': {
    status: 417,
    title: 'The service does not support this expectation',
    cure: 'Send no `Expect` header, or `Expect: 100-continue`.'
  },
  'code-rejected': {
    status: 422,
    title: 'The code is wrong, expired or already used',
    cure: 'Wait for the next code and try again. Check that the clock of the phone is right.',
    extras: {
      attemptsRemaining,
      serverTime,
      clockSkewSeconds: Type.Optional(
        Type.Integer({
          description: 'Only during set-up: how many seconds the clock of the phone is ahead.'
        })
      )
    }
  },
  'password-rejected': {
    status: 422,
    title: 'The current password is wrong',
    cure: 'Let the user enter it again.'
  },
  'weak-password': {
    status: 422,
    title: 'The password is too easy to guess',
    cure: 'Choose a longer one. `detail` says what is wrong.'
  },
  'idempotency-key-reused': {
    status: 422,
    title: 'Another request has this idempotency key',
    cure: 'Repeat a request only with the same body. Use a new key for a new request.'
  },
  'precondition-required': {
    status: 428,
    title: 'The request must name the version that it changes',
    cure: 'Send the `ETag` of the last read in `If-Match`.'
  },
  'rate-limited': {
    status: 429,
    title: 'Too many requests',
    cure: 'Wait for `Retry-After`. `RateLimit-Remaining` shows in advance how many requests are left.'
  },
  'too-many-attempts': {
    status: 429,
    title: 'Too many attempts',
    cure: 'Wait for `Retry-After`. If `scope` is `step_token`, sign in again. If `recoveryOpen` is true, a recovery code works now.',
    extras: {
      scope: Type.Optional(Type.Enum(['step_token', 'user'])),
      recoveryOpen: Type.Optional(Type.Boolean()),
      support
    }
  },
  internal: {
    status: 500,
    title: 'The service has an internal error',
    cure: 'Report the `requestId`. The log of this request contains the cause.'
  },
  unavailable: {
    status: 503,
    title: 'The service is temporarily unavailable',
    cure: 'Try again after `Retry-After`.'
  }
} as const satisfies Record<string, ProblemKind>

export type ProblemCode = keyof typeof PROBLEMS

export const PROBLEM_CODES = Object.keys(PROBLEMS) as ProblemCode[]

/** Returns one entry of the table, with the type that all entries share. */
export function problemKind(code: ProblemCode): ProblemKind {
  return PROBLEMS[code]
}
