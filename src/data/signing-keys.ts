import type { Prisma, PrismaClient } from '../generated/prisma/client.ts'

export interface PublicJwk {
  kty: string
  crv: string
  x: string
  y: string
}

export interface SigningKey {
  /** The `kid`. */
  id: string
  publicJwk: PublicJwk
  sealedPrivateKey: string
  createdAt: Date
}

// Any constant does; it only has to differ from the other advisory locks of this service.
const FIRST_KEY_LOCK = 7_301_002

export type SigningKeys = ReturnType<typeof createSigningKeys>

export function createSigningKeys(prisma: PrismaClient) {
  return {
    /** Newest first. */
    async list(): Promise<SigningKey[]> {
      const rows = await prisma.signingKey.findMany({
        orderBy: [{ createdAt: 'desc' }, { id: 'asc' }]
      })
      return rows.map(asSigningKey)
    },

    /** Stores the key unless there is one already; several replicas may start at once, one key results. */
    async createFirst(key: SigningKey): Promise<void> {
      await prisma.$transaction(async (transaction) => {
        await transaction.$executeRaw`SELECT pg_advisory_xact_lock(${FIRST_KEY_LOCK})`
        if ((await transaction.signingKey.count()) > 0) return
        const publicJwk = { ...key.publicJwk } satisfies Prisma.InputJsonObject
        await transaction.signingKey.create({ data: { ...key, publicJwk } })
      })
    }
  }
}

function asSigningKey(row: Prisma.SigningKeyGetPayload<object>): SigningKey {
  // Only createFirst writes this column.
  return { ...row, publicJwk: row.publicJwk as unknown as PublicJwk }
}
