// When a key signs is decided by the database's clock, the one clock that replicas and operators share.
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

// Any constant does; it only has to differ from the other advisory locks of this service.
const ROTATION_LOCK = 7_301_002

export function createSigningKeys(prisma: PrismaClient) {
  /** Runs the work while nobody else adds a key. */
  function alone<Result>(work: (transaction: Transaction) => Promise<Result>): Promise<Result> {
    return prisma.$transaction(
      async (transaction) => {
        await transaction.$executeRaw`SELECT pg_advisory_xact_lock(${ROTATION_LOCK})`
        return work(transaction)
      },
      // What another has stored before our turn must be seen: each statement looks for itself.
      { isolationLevel: 'ReadCommitted' }
    )
  }

  return {
    /** Every key, and what time it is by the database's clock. */
    async list(): Promise<{ keys: SigningKey[]; at: Date }> {
      const [clock] = await prisma.$queryRaw<{ at: Date }[]>`SELECT clock_timestamp() AS at`
      const keys = await prisma.signingKey.findMany({ omit: { publicJwk: true } })
      return { keys, at: clock?.at ?? new Date(0) }
    },

    /** Stores the key, to sign at once, unless there is one already; several replicas may start at once, one key results. */
    async createFirst(key: NewSigningKey): Promise<void> {
      await alone(async (transaction) => {
        if ((await transaction.signingKey.count()) === 0) await insert(transaction, key, 0)
      })
    },

    /**
     * Stores the key, to sign in so many seconds. False: there is one already that waits for its turn, or none at all,
     * since the service has never started.
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

    /** Stores the key, to sign at once, and forgets all others: nothing that they have signed is believed any more. */
    replaceAll(key: NewSigningKey): Promise<number> {
      return alone(async (transaction) => {
        const { count } = await transaction.signingKey.deleteMany()
        await insert(transaction, key, 0)
        return count
      })
    },

    /** Forgets keys for good. Answers how many were there still. */
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
