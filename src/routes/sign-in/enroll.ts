// Set-up: a secret of this user's alone, shown once, inactive until the first right code.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import QRCode from 'qrcode'
import { Type } from 'typebox'
import type { Act, Audit } from '../../audit/audit.ts'
import { withCode } from '../../core/claims.ts'
import {
  issuerLabel,
  matchCode,
  measureClockSkew,
  otpauthUri,
  setupKey,
  TOTP_ALGORITHM,
  TOTP_DIGITS,
  TOTP_PERIOD_SECONDS
} from '../../core/totp.ts'
import { ENROLLMENT_TRIES_MAX, isConfirmable } from '../../core/two-factor.ts'
import { generateId } from '../../crypto/ids.ts'
import type { RecoveryCodeHasher } from '../../crypto/recovery-code-hashing.ts'
import type { Sealer } from '../../crypto/sealing.ts'
import { generateRecoveryCodes, generateTotpSecret } from '../../crypto/secrets.ts'
import type { Subject } from '../../data/sign-in/subjects.ts'
import type { ConfirmOutcome, Enrollment, Enrollments } from '../../data/users/enrollments.ts'
import type { CredentialRule } from '../../plugins/credentials.ts'
import type { SignIns } from '../../sign-in/sign-ins.ts'
import { Problem, revokedCredential } from '../../wire/problem.ts'
import { refTo } from '../../wire/references.ts'
import { AuthenticatorName, Code, Instant, Uuid } from '../../wire/scalars.ts'
import { SignIn } from '../../wire/sign-in.ts'
import { allowNoBody } from '../optional-body.ts'

export interface EnrollOptions {
  enrollments: Enrollments
  secretSealer: Sealer
  recoveryCodeHasher: RecoveryCodeHasher
  signIns: SignIns
  audit: Audit
  now: () => Date
}

/** A set-up that is not finished after this long has been given up (the contract's ten minutes). */
const ENROLLMENT_TTL_SECONDS = 10 * 60
/** NIST SP 800-63B-4 §4.1.3 wants a bound; five are a phone, a spare, a laptop and two more. */
const AUTHENTICATORS_MAX = 5
const DEFAULT_NAME = 'Authenticator'

const ENROLLING = {
  step: 'enroll',
  accessToken: { holder: 'anyone', fresh: 'enrolling' }
} as const satisfies CredentialRule

const EnrollBody = Type.Object(
  {
    name: Type.Optional(AuthenticatorName),
    replaces: Type.Optional(
      Type.Unsafe<string>({
        ...Uuid,
        description: 'The authenticator that dies when the new one is confirmed.'
      })
    ),
    qr: Type.Optional(Type.Enum(['svg', 'png'], { description: 'Default `svg`.' }))
  },
  { additionalProperties: false }
)

const EnrollAnswer = Type.Object({
  authenticatorId: Uuid,
  setupKey: Type.String({
    description: 'Base32 in groups of four, to be typed where nothing can be scanned.',
    examples: ['GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ']
  }),
  otpauthUri: Type.String(),
  qrCode: Type.String({ description: 'The URI as a picture: a base64 data URI.' }),
  issuer: Type.String(),
  accountName: Type.String(),
  algorithm: Type.Literal(TOTP_ALGORITHM),
  digits: Type.Literal(TOTP_DIGITS),
  period: Type.Literal(TOTP_PERIOD_SECONDS),
  expiresAt: Instant
})

const ConfirmBody = Type.Object(
  { authenticatorId: Uuid, code: Code },
  { additionalProperties: false }
)

const enroll: FastifyPluginAsyncTypebox<EnrollOptions> = async (
  app,
  { enrollments, secretSealer, recoveryCodeHasher, signIns, audit, now }
) => {
  app.post(
    '/v1/enroll',
    {
      config: {
        limit: 'codes',
        act: 'authenticator.enroll',
        credentials: ENROLLING,
        problems: [
          'sso-managed',
          'authenticator-not-found',
          'name-taken',
          'too-many-authenticators'
        ]
      },
      preValidation: allowNoBody,
      schema: {
        operationId: 'enroll',
        summary: 'Start the set-up of an authenticator app',
        description:
          'Shows the key once, as a QR code and to be typed. Nothing changes until `confirm`; a newer enrolment discards the earlier one.',
        tags: ['Signing in'],
        body: EnrollBody,
        response: { 201: EnrollAnswer }
      }
    },
    async (request, reply) => {
      const { subject } = request.credentialOf('step', 'accessToken')
      requirePasswordDoor(subject)
      const { accountId, userId, email: accountName } = subject
      const { qr = 'svg', replaces = null } = request.body
      const name = authenticatorName(subject, request.body.name, replaces)
      const authenticatorId = generateId()
      const secret = generateTotpSecret()
      const issuer = issuerLabel(subject.accountName)
      const uri = otpauthUri({ secret, issuer, accountName })
      const createdAt = now()
      const expiresAt = new Date(createdAt.getTime() + ENROLLMENT_TTL_SECONDS * 1000)
      const isStarted = await enrollments.start(
        subject,
        {
          ...{ accountId, userId, authenticatorId, name, replaces, createdAt, expiresAt },
          sealedSecret: secretSealer.seal(secret, [accountId, userId, authenticatorId]),
          wrongTries: 0
        },
        audit.succeeded(request, {
          target: { kind: 'authenticator', id: authenticatorId },
          details: { name, replaces }
        })
      )
      if (!isStarted) throw revokedCredential()
      return reply.code(201).send({
        ...{ authenticatorId, issuer, accountName, otpauthUri: uri },
        setupKey: setupKey(secret),
        qrCode: await qrCode(uri, qr),
        algorithm: TOTP_ALGORITHM,
        digits: TOTP_DIGITS,
        period: TOTP_PERIOD_SECONDS,
        expiresAt: expiresAt.toISOString()
      })
    }
  )

  app.post(
    '/v1/enroll/confirm',
    {
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
        summary: 'Finish the set-up with the first code',
        description:
          'Activates the authenticator and signs in. The first authenticator comes with ten recovery codes, shown only here. Tokens issued before are dead; go on with the one answered.',
        tags: ['Signing in'],
        body: ConfirmBody,
        response: { 200: refTo(SignIn) }
      }
    },
    async (request) => {
      const credential = request.credentialOf('step', 'accessToken')
      const { subject } = credential
      requirePasswordDoor(subject)
      const enrollment = await enrollments.find(subject, request.body.authenticatorId)
      if (!enrollment) throw new Problem('enrollment-not-found')
      const timeStep = await firstTimeStep(request, enrollment, request.body.code)
      const recoveryCodes = generateRecoveryCodes()
      const outcome = await enrollments.confirm(subject, enrollment, {
        timeStep,
        recoveryCodeHashes: recoveryCodes.map((code) => recoveryCodeHasher.hash(code, subject)),
        stepToken: credential.stepToken,
        // An access token came past the freshness check, which asks for a second factor once there is one.
        mayAddToOthers: credential.kind === 'accessToken' && subject.authenticators.length > 0,
        authenticatorsMax: AUTHENTICATORS_MAX,
        event: audit.succeeded(request, onAuthenticator(enrollment))
      })
      if (!outcome.confirmed) throw refusal(outcome, now())
      const successor = { ...subject, epoch: subject.epoch + 1 }
      return {
        ...signIns.authenticated(successor, withCode(credential.claims.amr), 'enrolled'),
        ...(outcome.isFirst ? { recoveryCodes } : {}),
        recoveryCodesRemaining: outcome.recoveryCodesRemaining
      }
    }
  )

  /** The time step of the confirming code. A wrong one is counted before the caller hears of it. */
  async function firstTimeStep(
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

export default enroll

// Whoever can only come by single sign-on is never asked for a code.
function requirePasswordDoor({ policy }: Subject): void {
  if (policy.sso.mode === 'required') throw new Problem('sso-managed')
}

function onAuthenticator({ authenticatorId: id, name, replaces }: Enrollment): Act {
  return { target: { kind: 'authenticator', id }, details: { name, replaces } }
}

function authenticatorName(
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

async function qrCode(uri: string, format: 'svg' | 'png'): Promise<string> {
  if (format === 'png') return QRCode.toDataURL(uri, { type: 'image/png' })
  const svg = await QRCode.toString(uri, { type: 'svg' })
  return `data:image/svg+xml;base64,${Buffer.from(svg).toString('base64')}`
}

function refusal({ reason }: Extract<ConfirmOutcome, { confirmed: false }>, at: Date): Problem {
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
      : 'This code is not good. Enter the one that the app shows now.',
    extras: {
      attemptsRemaining,
      serverTime: at.toISOString(),
      ...(isSkewed ? { clockSkewSeconds } : {})
    }
  })
}
