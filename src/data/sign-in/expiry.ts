// When an expired row is deleted. Its loss must not make something valid again that one replica still accepts.
import { Prisma } from '../../generated/prisma/client.ts'

/**
 * Returns the SQL condition that the column `"expiresAt"` lies more than this many seconds in the past, by the clock of
 * the database and by that of this replica. If one of them is wrong, the row is deleted later, never earlier.
 */
export function expiredBefore(now: Date, keptSeconds: number): Prisma.Sql {
  return Prisma.sql`"expiresAt" < LEAST(now(), ${now}::timestamptz) - ${keptSeconds}::int * interval '1 second'`
}
