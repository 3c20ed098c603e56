// Set-up of an authenticator: its secret belongs to one user, is shown once, and is inactive until the first right code.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import type { Act, Audit } from '../../audit/audit.ts'
import { withCode } from '../../core/claims.ts'
import {
  matchCode,
  measureClockSkew,
  otpauthUri,
  setupKey,
  TOTP_ALGORITHM,
  TOTP_DIGITS,
  TOTP_PERIOD_SECONDS
} from '../../core/totp.ts'
import { ENROLLMENT_TRIES_MAX, isConfirmable } from '../../core/two-factor/states.ts'
import { generateId } from '../../crypto/ids.ts'
import type { RecoveryCodeHasher } from '../../crypto/recovery-code-hashing.ts'
import type { Sealer } from '../../crypto/sealing.ts'
import { generateRecoveryCodes, generateTotpSecret } from '../../crypto/secrets.ts'
import type { Subject } from '../../data/sign-in/subjects.ts'
import type { ConfirmOutcome, Enrollment, Enrollments } from '../../data/users/enrollments.ts'
import type { CredentialRule } from '../../plugins/credentials.ts'
import type { SignIns } from '../../sign-in/sign-ins.ts'
import { Problem, revokedCredential, stepUpRequired } from '../../wire/problem.ts'
import { refTo } from '../../wire/references.ts'
import { AuthenticatorName, Code, Instant, Uuid } from '../../wire/scalars.ts'
import { SignIn } from '../../wire/sign-in.ts'
import type { ReplyOf, RequestOf, RouteDefinition } from '../definitions.ts'
import { allowNoBody } from '../optional-body.ts'
import { AUTHENTICATORS_MAX, chooseName } from './authenticator-names.ts'
import { firstStepOf } from './first-steps.ts'
import { qrCodeOf } from './qr-codes.ts'

interface EnrollOptions {
  enrollments: Enrollments
  secretSealer: Sealer
  recoveryCodeHasher: RecoveryCodeHasher
  signIns: SignIns
  audit: Audit
  now: () => Date
}

/** The contract gives a user ten minutes to finish a set-up. */
const ENROLLMENT_TTL_SECONDS = 10 * 60

const ENROLLING = {
  step: 'enroll',
  accessToken: { holder: 'anyone', fresh: 'enrolling', extends: 'by-set-up' }
} as const satisfies CredentialRule

const EnrollBody = Type.Object(
  {
    name: Type.Optional(AuthenticatorName),
    replaces: Type.Optional(
      Type.Unsafe<string>({
        ...Uuid,
        description: 'The authenticator that is removed when the new one is confirmed.'
      })
    ),
    qr: Type.Optional(
      Type.Enum(['svg', 'png'], { description: 'The format of the QR code. The default is `svg`.' })
    )
  },
  { additionalProperties: false }
)

const EnrollAnswer = Type.Object(
  {
    type: Type.Literal('totp', { description: 'The kind of authenticator.' }),
    authenticatorId: Uuid,
    setupKey: Type.String({
      description: 'The key in Base32, in groups of four, for an app that cannot scan the QR code.',
      examples: ['GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ']
    }),
    otpauthUri: Type.String(),
    qrCode: Type.String({ description: 'A picture of the URI, as a base64 data URI.' }),
    issuer: Type.String(),
    accountName: Type.String(),
    algorithm: Type.Literal(TOTP_ALGORITHM),
    digits: Type.Literal(TOTP_DIGITS),
    period: Type.Literal(TOTP_PERIOD_SECONDS),
    expiresAt: Instant
  },
  { title: 'Enrollment' }
)

const ConfirmBody = Type.Object(
  { authenticatorId: Uuid, code: Code },
  { additionalProperties: false }
)

const ENROLL = {
  config: {
    limit: 'codes',
    act: 'authenticator.enroll',
    credentials: ENROLLING,
    problems: ['sso-managed', 'authenticator-not-found', 'name-taken', 'too-many-authenticators']
  },
  preValidation: allowNoBody,
  schema: {
    operationId: 'enroll',
    summary: 'Start an enrollment',
    description:
      'Creates a key for an authenticator app and shows it once, as a QR code and as text. Sign-ins do not change until the enrollment is confirmed. A new enrollment replaces an unfinished one.',
    tags: ['Signing in'],
    body: EnrollBody,
    response: { 201: EnrollAnswer }
  }
} as const satisfies RouteDefinition

const CONFIRM_ENROLLMENT = {
  config: {
    limit: 'codes',
    act: 'authenticator.confirm',
    credentials: ENROLLING,
    problems: [
      'sso-managed',
      'enrollment-not-found',
      'name-taken',
      'too-many-authenticators',
      'enrollment-expired',
      'code-rejected'
    ]
  },
  schema: {
    operationId: 'confirmEnrollment',
    summary: 'Confirm an enrollment',
    description:
      'Activates the authenticator with its first code, signs the user in and notifies the user by e-mail. With the first authenticator, the response has ten recovery codes, which are shown only here. All earlier tokens of the user are revoked: continue with the access token in the response.',
    tags: ['Signing in'],
    body: ConfirmBody,
    response: { 200: refTo(SignIn) }
  }
} as const satisfies RouteDefinition

const enrollRoutes: FastifyPluginAsyncTypebox<EnrollOptions> = async (
  app,
  { enrollments, secretSealer, recoveryCodeHasher, signIns, audit, now }
) => {
  app.post('/v1/enroll', ENROLL, enroll)
  app.post('/v1/enroll/confirm', CONFIRM_ENROLLMENT, confirmEnrollment)

  async function enroll(request: RequestOf<typeof ENROLL>, reply: ReplyOf<typeof ENROLL>) {
    const { subject } = request.credentialOf('step', 'accessToken')
    requirePasswordAllowed(subject)
    const { qr = 'svg', replaces = null } = request.body
    const name = chooseName(subject, request.body.name, replaces)
    const secret = generateTotpSecret()
    const enrollment = newEnrollment(subject, { name, replaces, secret })
    const event = audit.succeeded(request, onAuthenticator(enrollment))
    const isStarted = await enrollments.start(subject, enrollment, event)
    if (!isStarted) throw revokedCredential()
    return reply.code(201).send(await asAnswer(subject, enrollment, { secret, qr }))
  }

  async function confirmEnrollment(request: RequestOf<typeof CONFIRM_ENROLLMENT>) {
    const credential = request.credentialOf('step', 'accessToken')
    const { kind, subject, stepToken } = credential
    requirePasswordAllowed(subject)
    const firstStep = firstStepOf(credential)
    const enrollment = await enrollments.find(subject, request.body.authenticatorId)
    if (!enrollment) throw new Problem('enrollment-not-found')
    const timeStep = await acceptFirstCode(request, enrollment, request.body.code)
    const recoveryCodes = generateRecoveryCodes()
    const outcome = await enrollments.confirm(subject, enrollment, {
      timeStep,
      recoveryCodeHashes: recoveryCodes.map((code) => recoveryCodeHasher.hash(code, subject)),
      stepToken,
      firstFactor: firstStep.firstFactor,
      // An access token has passed the freshness check, which requires a second factor once the user has one.
      mayAddToOthers: kind === 'accessToken' && subject.authenticators.length > 0,
      authenticatorsMax: AUTHENTICATORS_MAX,
      event: audit.succeeded(request, onAuthenticator(enrollment))
    })
    if (!outcome.confirmed) throw refusal(outcome, now())
    const successor = { ...subject, epoch: subject.epoch + 1 }
    return {
      ...signIns.authenticated(successor, withCode(firstStep), 'enrolled'),
      ...(outcome.isFirst ? { recoveryCodes } : {}),
      recoveryCodesRemaining: outcome.recoveryCodesRemaining
    }
  }

  function newEnrollment(
    { accountId, userId }: Subject,
    { name, replaces, secret }: { name: string; replaces: string | null; secret: Uint8Array }
  ): Enrollment {
    const authenticatorId = generateId()
    const createdAt = now()
    return {
      accountId,
      userId,
      authenticatorId,
      name,
      replaces,
      sealedSecret: secretSealer.seal(secret, [accountId, userId, authenticatorId]),
      wrongTries: 0,
      createdAt,
      expiresAt: new Date(createdAt.getTime() + ENROLLMENT_TTL_SECONDS * 1000)
    }
  }

  /** Returns the time step of the first code. Counts a wrong code before it throws `code-rejected`. */
  async function acceptFirstCode(
    request: FastifyRequest,
    enrollment: Enrollment,
    code: string
  ): Promise<number> {
    const { accountId, userId, authenticatorId, sealedSecret } = enrollment
    const at = now()
    if (!isConfirmable(enrollment, at)) throw new Problem('enrollment-expired')
    const secret = secretSealer.unseal(sealedSecret, [accountId, userId, authenticatorId])
    const match = matchCode({ secret, code, at, lastTimeStep: null })
    if (match.accepted) return match.timeStep
    const event = audit.refusalOf(request, 'code-rejected', onAuthenticator(enrollment))
    const tries = await enrollments.spendTry(enrollment, ENROLLMENT_TRIES_MAX, event)
    if (tries === null) throw new Problem('enrollment-expired')
    throw codeRejected({
      isAudited: true,
      attemptsRemaining: ENROLLMENT_TRIES_MAX - tries,
      clockSkewSeconds: measureClockSkew({ secret, code, at }),
      at
    })
  }
}

export default enrollRoutes

// A user who can only sign in by single sign-on is never asked for a code.
function requirePasswordAllowed({ policy }: Subject): void {
  if (policy.sso.mode === 'required') throw new Problem('sso-managed')
}

function onAuthenticator({ authenticatorId: id, name, replaces }: Enrollment): Act {
  return { target: { kind: 'authenticator', id }, details: { name, replaces } }
}

async function asAnswer(
  { issuerName: issuer, email: accountName }: Subject,
  { authenticatorId, expiresAt }: Enrollment,
  { secret, qr }: { secret: Uint8Array; qr: 'svg' | 'png' }
): Promise<Static<typeof EnrollAnswer>> {
  const uri = otpauthUri({ secret, issuer, accountName })
  return {
    type: 'totp',
    authenticatorId,
    setupKey: setupKey(secret),
    otpauthUri: uri,
    qrCode: await qrCodeOf(uri, qr),
    issuer,
    accountName,
    algorithm: TOTP_ALGORITHM,
    digits: TOTP_DIGITS,
    period: TOTP_PERIOD_SECONDS,
    expiresAt: expiresAt.toISOString()
  }
}

function refusal({ reason }: Extract<ConfirmOutcome, { confirmed: false }>, at: Date): Problem {
  if (reason === 'step-up-required') return stepUpRequired('login')
  if (reason !== 'lost-race') return new Problem(reason)
  return codeRejected({ attemptsRemaining: 0, clockSkewSeconds: null, at, isAudited: false })
}

function codeRejected({
  attemptsRemaining,
  clockSkewSeconds,
  at,
  isAudited
}: {
  attemptsRemaining: number
  clockSkewSeconds: number | null
  at: Date
  isAudited: boolean
}): Problem {
  const isSkewed = clockSkewSeconds !== null
  return new Problem('code-rejected', {
    isAudited,
    detail: isSkewed
      ? `The clock of the phone is ${Math.abs(clockSkewSeconds)} seconds ${clockSkewSeconds > 0 ? 'ahead' : 'behind'}. Set it to automatic time and enter a new code.`
      : 'The code is wrong. Enter the code that the app shows now.',
    extras: {
      attemptsRemaining,
      serverTime: at.toISOString(),
      ...(isSkewed ? { clockSkewSeconds } : {})
    }
  })
}
