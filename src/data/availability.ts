import { Prisma } from '../generated/prisma/client.ts'

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
  /connection terminated|timeout exceeded when trying to connect|query read timeout|client has encountered a connection error/i

/** Whether an error says that the database can't be reached or can't take more, so that a retry may help. */
export function isDatabaseUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  if (error instanceof Prisma.PrismaClientInitializationError) return true
  if (PG_MESSAGES.test(error.message)) return true
  const { code, kind, originalCode } = { ...(error.cause ?? {}), ...error } as Record<
    string,
    unknown
  >
  const codes = [code, originalCode].filter((value) => typeof value === 'string')
  if (codes.some((value) => PRISMA_CODES.has(value) || SOCKET_CODES.has(value))) return true
  if (codes.some((value) => SQLSTATE.test(value))) return true
  if (typeof kind === 'string' && ADAPTER_KINDS.has(kind)) return true
  return isDatabaseUnavailable(driverErrorOf(error) ?? error.cause)
}

// Prisma keeps the driver's error in `meta` when it has no code of its own for it.
function driverErrorOf(error: Error): unknown {
  const { meta } = error as { meta?: { driverAdapterError?: unknown } }
  return meta?.driverAdapterError
}
