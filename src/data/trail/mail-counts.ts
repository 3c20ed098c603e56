// Counts mails for the limits on mails. The counts are in the database, because every replica sends mails.
import { MAIL_WINDOW_SECONDS } from '../../core/mail/limits.ts'
import type { PrismaClient } from '../../generated/prisma/client.ts'

/** A number of mails to add to the count of a key. */
export interface MailsToCount {
  /** In hexadecimal digits. */
  key: string
  mails: number
}

/** The count of a key in the current hour. */
export interface MailCount {
  count: number
  /** When the hour of this key started. */
  startedAt: Date
}

export type MailCounts = ReturnType<typeof createMailCounts>

export function createMailCounts(prisma: PrismaClient) {
  return {
    /**
     * Adds mails to the counts of their keys, and returns the new counts by key. A count whose hour is over starts again.
     * No key may occur twice.
     */
    async add(mails: readonly MailsToCount[], now: Date): Promise<Map<string, MailCount>> {
      if (mails.length === 0) return new Map()
      const hourAgo = startOfWindow(now)
      // In the order of the keys, so that two replicas never wait for each other.
      const rows = await prisma.$queryRaw<(MailCount & { key: string })[]>`
        INSERT INTO "MailCount" AS c (key, "startedAt", count)
        SELECT decode(key, 'hex'), ${now}::timestamptz, mails
        FROM json_to_recordset(${JSON.stringify(mails)}::json) AS added (key text, mails int)
        ORDER BY key
        ON CONFLICT (key) DO UPDATE SET
          count = excluded.count + CASE WHEN c."startedAt" > ${hourAgo}::timestamptz THEN c.count ELSE 0 END,
          "startedAt" = CASE WHEN c."startedAt" > ${hourAgo}::timestamptz THEN c."startedAt" ELSE excluded."startedAt" END
        RETURNING encode(c.key, 'hex') AS key, c.count, c."startedAt"`
      return new Map(rows.map(({ key, ...count }) => [key, count]))
    },

    /** Deletes the counts whose hour is over. Returns their number. */
    async forgetExpired(now: Date): Promise<number> {
      const { count } = await prisma.mailCount.deleteMany({
        where: { startedAt: { lte: startOfWindow(now) } }
      })
      return count
    }
  }
}

/** Returns when an hour that ends now started. */
export function startOfWindow(now: Date): Date {
  return new Date(now.getTime() - MAIL_WINDOW_SECONDS * 1000)
}
