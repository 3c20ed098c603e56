import type { PrismaClient } from '../generated/prisma/client.ts'

export interface AuditKey {
  id: string
  sealedKey: string
  createdAt: Date
}

export type AuditKeys = ReturnType<typeof createAuditKeys>

export function createAuditKeys(prisma: PrismaClient) {
  return {
    /** The deployment's key: this one where there is none yet. Several replicas may start at once, one key results. */
    async findOrCreate(key: AuditKey): Promise<AuditKey> {
      // Of two first starts the second waits here for the first, and then finds its key.
      await prisma.$executeRaw`
        INSERT INTO "AuditKey" (id, "sealedKey", "createdAt")
        VALUES (${key.id}, ${key.sealedKey}, ${key.createdAt}::timestamptz) ON CONFLICT (id) DO NOTHING`
      return prisma.auditKey.findUniqueOrThrow({ where: { id: key.id } })
    },

    /** Null before the first start of the service. */
    find(id: string): Promise<AuditKey | null> {
      return prisma.auditKey.findUnique({ where: { id } })
    }
  }
}
