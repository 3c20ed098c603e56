import type { ServiceKeyId } from '../../crypto/sealing.ts'
import type { SealedServiceKey } from '../../crypto/service-keys.ts'
import type { PrismaClient } from '../../generated/prisma/client.ts'

export function createServiceKeys(prisma: PrismaClient) {
  return {
    /** The deployment's key: this one where there is none yet. Several replicas may start at once, one key results. */
    async findOrCreate({ id, sealedKey }: SealedServiceKey, now: Date): Promise<SealedServiceKey> {
      // Of two first starts the second waits here for the first, and then finds its key.
      await prisma.$executeRaw`
        INSERT INTO "ServiceKey" (id, "sealedKey", "createdAt")
        VALUES (${id}, ${sealedKey}, ${now}::timestamptz) ON CONFLICT (id) DO NOTHING`
      const stored = await prisma.serviceKey.findUniqueOrThrow({ where: { id } })
      return { id, sealedKey: stored.sealedKey }
    },

    /** Null before the first start of the service. */
    async find(id: ServiceKeyId): Promise<SealedServiceKey | null> {
      const stored = await prisma.serviceKey.findUnique({ where: { id } })
      return stored && { id, sealedKey: stored.sealedKey }
    }
  }
}
