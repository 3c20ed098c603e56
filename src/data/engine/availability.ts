import { Prisma } from '../../generated/prisma/client.ts'

/**
 * Prisma's codes for: unreachable, timed out, closed, pool exhausted, transaction not started, too many connections.
 */
const PRISMA_CODES = new Set([
  'P1001',
  'P1002',
  'P1008',
  'P1011',
  'P1017',
  'P2024',
  'P2028',
  'P2037'
])

/**
 * SQLSTATE classes and codes of a server that cannot serve the request now: connection exceptions (08), insufficient
 * resources (53), operator intervention (57), read-only (25006), deadlock and serialization failure (40).
 */
const SQLSTATE = /^(08...|53...|57...|25006|40...)$/

const SOCKET_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH'
])

/** The kinds of error that the driver adapters report for a lost connection. */
const ADAPTER_KINDS = new Set([
  'DatabaseNotReachable',
  'ConnectionClosed',
  'SocketTimeout',
  'TooManyConnections',
  'TlsConnectionError'
])

/** Errors that `pg` reports only by their message. */
const PG_MESSAGES =
  /connection terminated|timeout expired|timeout exceeded when trying to connect|query read timeout|client has encountered a connection error|client was closed/i

/** The subset of them that means that the server did not respond. A pool with all connections busy reports another. */
const PG_SILENCE =
  /query read timeout|connection terminated due to connection timeout|timeout expired/i

/** Returns whether an error means that the database is unreachable or overloaded, so that a retry may help. */
export function isDatabaseUnavailable(error: unknown): boolean {
  return someCause(error, (found) => {
    if (found instanceof Prisma.PrismaClientInitializationError) return true
    if (PG_MESSAGES.test(found.message)) return true
    const { kind, codes } = marksOf(found)
    if (codes.some((code) => PRISMA_CODES.has(code) || SOCKET_CODES.has(code))) return true
    if (codes.some((code) => SQLSTATE.test(code))) return true
    return typeof kind === 'string' && ADAPTER_KINDS.has(kind)
  })
}

/**
 * Returns whether an error means that the server did not respond at all, neither to a query nor to a connection
 * attempt.
 */
export function isSilence(error: unknown): boolean {
  return someCause(error, ({ message }) => PG_SILENCE.test(message))
}

/** Returns whether an error means that the server accepts no writes (SQLSTATE 25006). */
export function isReadOnly(error: unknown): boolean {
  return someCause(error, (found) => marksOf(found).codes.includes('25006'))
}

/** Returns whether an error means that the server has no free connection (SQLSTATE 53300). */
export function isOutOfConnections(error: unknown): boolean {
  return someCause(error, (found) => marksOf(found).codes.includes('53300'))
}

function someCause(error: unknown, isMeant: (found: Error) => boolean): boolean {
  if (!(error instanceof Error)) return false
  return isMeant(error) || someCause(driverErrorOf(error) ?? error.cause, isMeant)
}

/** Returns the kind and the codes of an error. The driver adapters put them into a `cause` that is no Error itself. */
function marksOf(error: Error): { kind: unknown; codes: string[] } {
  const { code, kind, originalCode } = { ...(error.cause ?? {}), ...error } as Record<
    string,
    unknown
  >
  return { kind, codes: [code, originalCode].filter((value) => typeof value === 'string') }
}

// Prisma keeps the driver's error in `meta` if it has no code of its own for the error.
function driverErrorOf(error: Error): unknown {
  const { meta } = error as { meta?: { driverAdapterError?: unknown } }
  return meta?.driverAdapterError
}
