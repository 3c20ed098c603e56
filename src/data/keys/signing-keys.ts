// The database's clock decides when a key signs, because it is the only clock that all replicas and operators share.
import type { NewSigningKey } from '../../crypto/signing-keys.ts'
import type { PrismaClient } from '../../generated/prisma/client.ts'
import type { Transaction } from '../trail/act-records.ts'

export interface SigningKey {
  /** The `kid`. */
  id: string
  sealedPrivateKey: string
  createdAt: Date
  signsFrom: Date
}

// Arbitrary. It must only differ from the other advisory locks of this service.
const ROTATION_LOCK = 7_301_002

export function createSigningKeys(prisma: PrismaClient) {
  /** Runs the work in a transaction that excludes all other changes of the keys. */
  function alone<Result>(work: (transaction: Transaction) => Promise<Result>): Promise<Result> {
    return prisma.$transaction(
      async (transaction) => {
        await transaction.$executeRaw`SELECT pg_advisory_xact_lock(${ROTATION_LOCK})`
        return work(transaction)
      },
      // Each statement must see the keys that another replica stored before this one got the lock.
      { isolationLevel: 'ReadCommitted' }
    )
  }

  return {
    /** Returns every key, and the current time of the database's clock. */
    async list(): Promise<{ keys: SigningKey[]; at: Date }> {
      const [clock] = await prisma.$queryRaw<{ at: Date }[]>`SELECT clock_timestamp() AS at`
      const keys = await prisma.signingKey.findMany({ omit: { publicJwk: true } })
      return { keys, at: clock?.at ?? new Date(0) }
    },

    /**
     * Stores a key that signs immediately, unless there is a key already. If replicas start at the same time, one key
     * is stored.
     */
    async createFirst(key: NewSigningKey): Promise<void> {
      await alone(async (transaction) => {
        if ((await transaction.signingKey.count()) === 0) await insert(transaction, key, 0)
      })
    },

    /**
     * Stores a key that signs after that many seconds. Returns false if there is a key already that does not sign yet,
     * or no key at all because the service has never started.
     */
    createNext(key: NewSigningKey, signsInSeconds: number): Promise<boolean> {
      return alone(async (transaction) => {
        const [row] = await transaction.$queryRaw<{ isNext: boolean }[]>`
          SELECT max("signsFrom") <= clock_timestamp() AS "isNext" FROM "SigningKey"`
        if (row?.isNext !== true) return false
        await insert(transaction, key, signsInSeconds)
        return true
      })
    },

    /**
     * Stores a key that signs immediately, and deletes all others. Tokens that they signed are rejected from then on.
     * Returns the number of deleted keys.
     */
    replaceAll(key: NewSigningKey): Promise<number> {
      return alone(async (transaction) => {
        const { count } = await transaction.signingKey.deleteMany()
        await insert(transaction, key, 0)
        return count
      })
    },

    /** Deletes keys. Returns the number of keys that still existed. */
    async forget(ids: readonly string[]): Promise<number> {
      const forgotten = await prisma.signingKey.deleteMany({ where: { id: { in: [...ids] } } })
      return forgotten.count
    }
  }
}

async function insert(
  transaction: Transaction,
  { id, publicJwk, sealedPrivateKey }: NewSigningKey,
  signsInSeconds: number
): Promise<void> {
  await transaction.$executeRaw`
    INSERT INTO "SigningKey" (id, "publicJwk", "sealedPrivateKey", "createdAt", "signsFrom")
    VALUES (${id}, ${JSON.stringify(publicJwk)}::jsonb, ${sealedPrivateKey}, clock_timestamp(),
      clock_timestamp() + make_interval(secs => ${signsInSeconds}))`
}
