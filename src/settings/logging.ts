// What the log may contain. Requests and errors are written by allow-lists of harmless fields. If a log call passes a
// secret by mistake, the logger redacts it by its name.
import type { FastifyRequest } from 'fastify'
import { type DestinationStream, type Logger, pino } from 'pino'

/** Redacted only at the top level, where it is free. At any depth it would cost seven times as much as the rest of the line. */
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

/** Returns the log of the service, which writes JSON lines to stdout or to the given destination. */
export function createLogger(level: string, destination?: DestinationStream): Logger {
  const options = {
    level,
    redact: NEVER_LOGGED,
    serializers: { req: asLoggedRequest, err: asLoggedError }
  }
  return destination ? pino(options, destination) : pino(options)
}

/** A word of a route, or an id that the service made. */
const HARMLESS_SEGMENT = /^(v\d|[a-z.][a-z._-]{0,30}|[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12})?$/

function asLoggedRequest({ method, url, host, clientAddress, socket }: FastifyRequest) {
  return {
    method,
    url: harmlessPath(url),
    host,
    remoteAddress: clientAddress,
    remotePort: socket?.remotePort
  }
}

// A query often contains an e-mail address that an admin searches for. A faulty client may put a code or a token into
// the path.
function harmlessPath(url: string): string {
  const [path = ''] = url.split('?', 1)
  const segments = path.split('/')
  return segments.map((segment) => (HARMLESS_SEGMENT.test(segment) ? segment : '*')).join('/')
}

// Errors of drivers carry rows, parameters and connection settings as extra properties.
function asLoggedError(error: unknown) {
  if (!(error instanceof Error)) return { type: typeof error }
  const { type, message, stack, code } = pino.stdSerializers.err(error) as LoggedError
  if (!quotesArguments(error)) return { type, message, stack, code }
  return { type, message: 'not logged: it quotes the values of the call', stack: framesOf(stack) }
}

interface LoggedError {
  type: string
  message: string
  stack: string
  code?: unknown
}

// Among Prisma's errors, only the one about a call of the wrong form quotes values. It does so in every error format.
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
