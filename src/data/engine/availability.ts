import { Prisma } from '../../generated/prisma/client.ts'

/** Prisma's own codes for: unreachable, timed out, closed, pool exhausted, transaction not to be had, too many connections. */
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
 * SQLSTATE classes and codes of a server that can't take the request now: connection exceptions (08), insufficient
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

/** Kinds that the driver adapters give to a connection that is gone. */
const ADAPTER_KINDS = new Set([
  'DatabaseNotReachable',
  'ConnectionClosed',
  'SocketTimeout',
  'TooManyConnections',
  'TlsConnectionError'
])

/** What `pg` says in words only. */
const PG_MESSAGES =
  /connection terminated|timeout expired|timeout exceeded when trying to connect|query read timeout|client has encountered a connection error|client was closed/i

/** Those of them that say that the server didn't answer; a pool whose connections are all at work says another. */
const PG_SILENCE =
  /query read timeout|connection terminated due to connection timeout|timeout expired/i

/** Whether an error says that the database can't be reached or can't take more, so that a retry may help. */
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

/** Whether an error is the lack of any answer from the server, be it to a query or to who wants to connect. */
export function isSilence(error: unknown): boolean {
  return someCause(error, ({ message }) => PG_SILENCE.test(message))
}

/** Whether an error says that the server takes no writes (SQLSTATE 25006). */
export function isReadOnly(error: unknown): boolean {
  return someCause(error, (found) => marksOf(found).codes.includes('25006'))
}

/** Whether a server has answered that it has no connection to spare (SQLSTATE 53300). */
export function isOutOfConnections(error: unknown): boolean {
  return someCause(error, (found) => marksOf(found).codes.includes('53300'))
}

function someCause(error: unknown, isMeant: (found: Error) => boolean): boolean {
  if (!(error instanceof Error)) return false
  return isMeant(error) || someCause(driverErrorOf(error) ?? error.cause, isMeant)
}

/** What an error is known by; the driver adapters put it into a `cause` that is no error itself. */
function marksOf(error: Error): { kind: unknown; codes: string[] } {
  const { code, kind, originalCode } = { ...(error.cause ?? {}), ...error } as Record<
    string,
    unknown
  >
  return { kind, codes: [code, originalCode].filter((value) => typeof value === 'string') }
}

// Prisma keeps the driver's error in `meta` when it has no code of its own for it.
function driverErrorOf(error: Error): unknown {
  const { meta } = error as { meta?: { driverAdapterError?: unknown } }
  return meta?.driverAdapterError
}
