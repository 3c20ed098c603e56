// What the log may hold. Requests and errors are written by lists of what is known to be harmless; what a later log call
// might hand over by mistake is blotted out by name.
import type { FastifyRequest } from 'fastify'
import { type DestinationStream, type Logger, pino } from 'pino'

/** Only at the top of what is logged: there it costs nothing, and at any depth as much as the rest of the line seven times. */
const NEVER_LOGGED = [
  'authorization',
  'cookie',
  'headers',
  'body',
  'payload',
  'password',
  'passwordHash',
  'secret',
  'setupKey',
  'otpauthUri',
  'qrCode',
  'recoveryCode',
  'recoveryCodes',
  'stepToken',
  'accessToken',
  'deviceToken',
  'idToken',
  'credential'
]

/** The log of the service: JSON lines, to stdout unless another destination is given. */
export function createLogger(level: string, destination?: DestinationStream): Logger {
  const options = {
    level,
    redact: NEVER_LOGGED,
    serializers: { req: asLoggedRequest, err: asLoggedError }
  }
  return destination ? pino(options, destination) : pino(options)
}

/** A word of a route, or an id of ours. */
const HARMLESS_SEGMENT = /^(v\d|[a-z.][a-z._-]{0,30}|[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12})?$/

function asLoggedRequest({ method, url, host, ip, socket }: FastifyRequest) {
  return { method, url: harmlessPath(url), host, remoteAddress: ip, remotePort: socket?.remotePort }
}

// A query may hold what somebody looked for, an e-mail address as a rule; and there are clients that put a code or a
// token into the path.
function harmlessPath(url: string): string {
  const [path = ''] = url.split('?', 1)
  const segments = path.split('/')
  return segments.map((segment) => (HARMLESS_SEGMENT.test(segment) ? segment : '*')).join('/')
}

// Errors of drivers carry rows, parameters and connection settings as further members.
function asLoggedError(error: unknown) {
  if (!(error instanceof Error)) return { type: typeof error }
  const { type, message, stack, code } = pino.stdSerializers.err(error) as LoggedError
  if (!quotesArguments(error)) return { type, message, stack, code }
  return { type, message: 'not logged: it quotes what was to be stored', stack: framesOf(stack) }
}

interface LoggedError {
  type: string
  message: string
  stack: string
  code?: unknown
}

// Of all that Prisma throws, only what it says of a call of the wrong form shows the values, in every error format.
function quotesArguments({ name, cause }: Error): boolean {
  if (name === 'PrismaClientValidationError') return true
  return cause instanceof Error && quotesArguments(cause)
}

function framesOf(stack: string): string {
  return stack
    .split('\n')
    .filter((line) => line.startsWith('    at '))
    .join('\n')
}
