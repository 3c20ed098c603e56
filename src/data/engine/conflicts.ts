import { Prisma } from '../../generated/prisma/client.ts'

/** Returns whether an error means that this unique index rejected the write (Prisma P2002). */
export function isUniqueViolation(error: unknown, index: string): boolean {
  if (!(error instanceof Prisma.PrismaClientKnownRequestError) || error.code !== 'P2002')
    return false
  // One engine reports the index, the other its columns. Both quote PostgreSQL's message, which names the index.
  return JSON.stringify(error.meta?.['driverAdapterError'] ?? {}).includes(`\\"${index}\\"`)
}
