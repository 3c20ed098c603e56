import { Prisma } from '../generated/prisma/client.ts'

/** Whether an error says that a unique index over this column refused the write (Prisma P2002). */
export function isUniqueViolation(error: unknown, column: string): boolean {
  if (!(error instanceof Prisma.PrismaClientKnownRequestError) || error.code !== 'P2002')
    return false
  // Where the driver adapter puts the columns differs by engine; the column's name is in the report on both.
  return JSON.stringify(error.meta ?? {}).includes(column)
}
