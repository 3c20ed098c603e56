import type { ServiceKeyId } from '../../crypto/sealing.ts'
import type { SealedServiceKey } from '../../crypto/service-keys.ts'
import type { PrismaClient } from '../../generated/prisma/client.ts'

export function createServiceKeys(prisma: PrismaClient) {
  return {
    /**
     * Returns the deployment's key. Stores this one first if there is none yet. If replicas start at the same time, all
     * get the same key.
     */
    async findOrCreate({ id, sealedKey }: SealedServiceKey, now: Date): Promise<SealedServiceKey> {
      // If two replicas start for the first time, the second waits here for the first and then finds its key.
      await prisma.$executeRaw`
        INSERT INTO "ServiceKey" (id, "sealedKey", "createdAt")
        VALUES (${id}, ${sealedKey}, ${now}::timestamptz) ON CONFLICT (id) DO NOTHING`
      const stored = await prisma.serviceKey.findUniqueOrThrow({ where: { id } })
      return { id, sealedKey: stored.sealedKey }
    },

    /** Returns the deployment's key, or null before the first start of the service. */
    async find(id: ServiceKeyId): Promise<SealedServiceKey | null> {
      const stored = await prisma.serviceKey.findUnique({ where: { id } })
      return stored && { id, sealedKey: stored.sealedKey }
    }
  }
}
