import type {
  SqlDriverAdapter,
  SqlMigrationAwareDriverAdapterFactory,
  SqlQueryable,
  Transaction
} from '@prisma/driver-adapter-utils'
import type { CircuitBreaker } from './circuit-breaker.ts'

export interface Guard {
  breaker: CircuitBreaker
  /** Returns whether a statement that failed with this error leaves its connection unusable. */
  isLost(error: unknown): boolean
}

/** Returns the adapter with every statement under the circuit breaker. It has no nested transactions. */
export function guardAdapter(
  factory: SqlMigrationAwareDriverAdapterFactory,
  guard: Guard
): SqlMigrationAwareDriverAdapterFactory {
  const { provider, adapterName } = factory
  return {
    provider,
    adapterName,
    connect: async () => guardConnections(await factory.connect(), guard),
    connectToShadowDb: () => factory.connectToShadowDb()
  }
}

function guardConnections(adapter: SqlDriverAdapter, guard: Guard): SqlDriverAdapter {
  const { breaker } = guard
  return {
    ...guardStatements(adapter, (statement) => breaker.guard(statement)),
    executeScript: (script) => breaker.guard(() => adapter.executeScript(script)),
    startTransaction: async (isolationLevel) => {
      const transaction = await breaker.guard(() => adapter.startTransaction(isolationLevel))
      return guardTransaction(transaction, guard)
    },
    getConnectionInfo: () => adapter.getConnectionInfo?.() ?? { supportsRelationJoins: false },
    dispose: () => adapter.dispose()
  }
}

// If a statement got no response, a ROLLBACK on the same connection would wait just as long again.
function guardTransaction(transaction: Transaction, { breaker, isLost }: Guard): Transaction {
  let lost: { cause: unknown } | null = null
  let last: Promise<unknown> = Promise.resolve()
  const guard = <Result>(statement: () => Promise<Result>): Promise<Result> => {
    // Prisma sends the reads of an `include` at the same time, and `pg` will no longer queue them for the one connection.
    const turn = last.then(() => run(statement))
    last = turn.catch(() => {})
    return turn
  }
  const run = async <Result>(statement: () => Promise<Result>): Promise<Result> => {
    if (lost) throw lost.cause
    try {
      return await breaker.guard(statement)
    } catch (cause) {
      if (isLost(cause)) lost = { cause }
      throw cause
    }
  }
  return {
    ...guardStatements(transaction, guard),
    options: transaction.options,
    // Never rejected by an open circuit: the adapter would not give the connection back.
    commit: () => breaker.watch(() => transaction.commit()),
    rollback: () => transaction.rollback()
  }
}

type GuardOf = <Result>(statement: () => Promise<Result>) => Promise<Result>

function guardStatements(queryable: SqlQueryable, guard: GuardOf): SqlQueryable {
  const { provider, adapterName } = queryable
  return {
    provider,
    adapterName,
    queryRaw: (query) => guard(() => queryable.queryRaw(query)),
    executeRaw: (query) => guard(() => queryable.executeRaw(query))
  }
}
