import { Prisma } from '../../generated/prisma/client.ts'

/**
 * Prisma's codes for: login refused, unreachable, timed out, database missing, access denied, TLS refused, closed, pool
 * exhausted, transaction not started, too many connections.
 */
const PRISMA_CODES = new Set([
  'P1000',
  'P1001',
  'P1002',
  'P1003',
  'P1008',
  'P1010',
  'P1011',
  'P1017',
  'P2024',
  'P2028',
  'P2037'
])

/**
 * SQLSTATE classes and codes of a server that does not serve the request now, through no fault of the statement (PostgreSQL
 * documentation, appendix A): connection exception (08), read-only (25006), statement lost by a pooler (26000, 42P05), login
 * refused (28), database missing (3D),
 * deadlock and serialization failure (40), privilege missing (42501), insufficient resources, also a full disk (53),
 * object in another state, such as a database that accepts no connections (55),
 * operator intervention (57), system error (58), error in the server's configuration (F0), internal error (XX).
 */
const SQLSTATE =
  /^(08...|25006|26000|28...|3D...|40...|42501|42P05|53...|55...|57...|58...|F0...|XX...)$/

/** Codes of Node for a connection that was not made or was lost, or for a process that has no descriptor left for one. */
const SOCKET_CODES = new Set([
  'EADDRNOTAVAIL',
  'EAI_AGAIN',
  'ECONNABORTED',
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'EMFILE',
  'ENETDOWN',
  'ENETUNREACH',
  'ENFILE',
  'ENOTFOUND',
  'EPIPE',
  'ETIMEDOUT'
])

/** Codes of Node and OpenSSL for a server whose certificate is refused. */
const TLS_CODES = /^(ERR_TLS_|ERR_SSL_|CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_)/

/** The kinds of error that the driver adapters report for a connection that was refused or lost. */
const ADAPTER_KINDS = new Set([
  'AuthenticationFailed',
  'DatabaseAccessDenied',
  'DatabaseDoesNotExist',
  'DatabaseNotReachable',
  'ConnectionClosed',
  'SocketTimeout',
  'TooManyConnections',
  'TlsConnectionError'
])

/** Errors that `pg` reports only by their message. */
const PG_MESSAGES =
  /connection terminated|timeout expired|timeout exceeded when trying to connect|query read timeout|client has encountered a connection error|client was closed/i

/** Those of the messages above that mean a silent server. A pool whose connections are all busy reports another message. */
const PG_SILENCE =
  /query read timeout|connection terminated due to connection timeout|timeout expired/i

/** Returns whether an error means that the database does not serve requests now, so that a retry may help. */
export function isDatabaseUnavailable(error: unknown): boolean {
  return someCause(error, (found) => {
    if (found instanceof Prisma.PrismaClientInitializationError) return true
    if (PG_MESSAGES.test(found.message)) return true
    const { kind, codes } = marksOf(found)
    if (codes.some((code) => PRISMA_CODES.has(code) || SOCKET_CODES.has(code))) return true
    if (codes.some((code) => SQLSTATE.test(code) || TLS_CODES.test(code))) return true
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
  return hasSqlState(error, '25006')
}

/** Returns whether an error means that the role lacks a privilege (SQLSTATE 42501). */
export function isPrivilegeMissing(error: unknown): boolean {
  return hasSqlState(error, '42501')
}

/** Returns whether a statement failed with this SQLSTATE. */
export function hasSqlState(error: unknown, state: string): boolean {
  return someCause(error, (found) => marksOf(found).codes.includes(state))
}

/**
 * Returns whether an error means that a connection does not have the statements that were prepared on it, or has those of
 * another client (SQLSTATE 26000, 42P05). Only a connection pooler causes this.
 */
export function isStatementLost(error: unknown): boolean {
  return someCause(error, (found) =>
    marksOf(found).codes.some((code) => code === '26000' || code === '42P05')
  )
}

/** Returns whether an error means that the server's disk is full (SQLSTATE 53100). */
export function isOutOfSpace(error: unknown): boolean {
  return hasSqlState(error, '53100')
}

/**
 * Returns whether an error means that the server refuses the login or does not have the database, so that a start need not
 * wait.
 */
export function isLoginRefused(error: unknown): boolean {
  return someCause(error, (found) =>
    marksOf(found).codes.some((code) => /^(28...|3D000|P1000|P1003|P1010)$/.test(code))
  )
}

/** Returns whether an error means that the server has no free connection (SQLSTATE 53300). */
export function isOutOfConnections(error: unknown): boolean {
  return hasSqlState(error, '53300')
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
