// How many requests a user, an account and all accounts together may have under way in one process. A request under way
// holds at most one connection to the database, and waits on it for a lock if another transaction has locked its rows.

/** The connections of the pool if the engine has none: an embedded database runs one statement at a time anyway. */
const WITHOUT_POOL = 10

/**
 * Writes for one user run in turn anyway, because each locks the user's row. In the queue they wait without a connection. A
 * user whose row is locked by another transaction occupies one connection until the database cancels the statement.
 */
const UNDER_WAY_PER_USER = 1
/** More than a page or a back end sends for one user at the same time. */
const WAITING_PER_USER = 100
/**
 * A request takes a few milliseconds. If no request of a user has ended for a second, they wait for a lock, and so would
 * all behind them. Not less: on a busy machine, callers who repeat a request as soon as it is refused would make it busier.
 */
export const STALLED_AFTER_MS = 1000
/** A request that waits costs memory only: about 10 KiB. */
const WAITING_MAX = 1000
/**
 * A request uses its connection for about a quarter of its time. With four requests for each connection, connections are
 * always in use, and no request waits long for one.
 */
const UNDER_WAY_PER_CONNECTION = 4
/**
 * Three of ten connections. With one core, more requests at the same time do not end sooner, and each of them would delay
 * the requests of other accounts by its turn on the core.
 */
const SHARE_OF_ACCOUNT = 1 / 4
/**
 * Eight of ten connections, for the only account of a deployment. The others serve its second steps, and the first request of
 * another account.
 */
const SHARE_OF_ONLY_ACCOUNT = 4 / 5
const ONLY_ACCOUNT_AFTER_MS = 1000
/** Second steps share statements (data/engine/batches): one statement records up to twenty right codes. A wrong one has its own. */
const SECOND_STEPS_PER_ACCOUNT = 20
/** Four full batches. */
const SECOND_STEPS = 80
/** About two seconds of work, less than the deadline of a request (plugins/deadline). */
const ACCOUNTS_WAITING_MAX = 256
const SECOND_STEPS_WAITING_MAX = 1000

/** Limits of a queue in which keys take turns (fair-queue). */
export interface Shares {
  slots: number
  slotsPerKey: number
  waitingMax: number
}

export interface AccountShares extends Shares {
  /** The slots of an account if no other account has asked for a turn for so long. */
  alone: { slotsPerKey: number; afterMs: number }
}

export interface UserShares extends Shares {
  waitingPerKeyMax: number
}

/**
 * Returns the shares in a process with this many connections to the database; null if the engine has no pool. An account
 * has at most a quarter of the connections, rounded up, while others have requests, too.
 * `accounts` and `secondSteps` are shares of accounts, each for its kind of request.
 */
export function sharesOf(poolMax: number | null): {
  users: UserShares
  accounts: AccountShares
  secondSteps: Shares
} {
  const connections = poolMax ?? WITHOUT_POOL
  return {
    users: {
      slots: Number.POSITIVE_INFINITY,
      slotsPerKey: UNDER_WAY_PER_USER,
      waitingMax: WAITING_MAX,
      waitingPerKeyMax: WAITING_PER_USER
    },
    accounts: {
      slots: connections * UNDER_WAY_PER_CONNECTION,
      slotsPerKey: Math.ceil(connections * SHARE_OF_ACCOUNT),
      alone: {
        slotsPerKey: Math.ceil(connections * SHARE_OF_ONLY_ACCOUNT),
        afterMs: ONLY_ACCOUNT_AFTER_MS
      },
      waitingMax: ACCOUNTS_WAITING_MAX
    },
    secondSteps: {
      slots: SECOND_STEPS,
      slotsPerKey: SECOND_STEPS_PER_ACCOUNT,
      waitingMax: SECOND_STEPS_WAITING_MAX
    }
  }
}
