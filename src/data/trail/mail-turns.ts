// Chooses the mails to send next: by priority, and the accounts in turn. So the mails of one
// account never wait for the many mails of another one.
import { NO_ACCOUNT } from '../../core/audit/events.ts'
import { accountLimitOf } from '../../core/mail/limits.ts'
import { Prisma } from '../../generated/prisma/client.ts'
import { startOfWindow } from './mail-counts.ts'

export interface MailTurn {
  /** The account whose turn was last. The next account in the order of ids is served first. */
  after: string
  priority: number
  limit: number
  /** The limit of an account (core/mail/limits). An account that has reached it has no turn. */
  perAccountPerHour: number
  now: Date
}

/**
 * Returns a select of the columns `accountId`, `id` and `turn` that locks the mails to send next. It visits the accounts
 * with waiting mails one by one, through an index, until it has seen enough, whatever the number of mails of an account. Each
 * ORDER BY names all columns of the index, because the planner does not know that the first of them is always null.
 */
export function nextMails({
  after,
  priority,
  limit,
  perAccountPerHour,
  now
}: MailTurn): Prisma.Sql {
  const hourAgo = startOfWindow(now)
  const limitOfAccount = accountLimitOf(priority, { perAccountPerHour })
  const hasTurn =
    limitOfAccount === null
      ? Prisma.empty
      : Prisma.sql`WHERE NOT EXISTS (SELECT FROM "MailCount" c
        WHERE c.key = uuid_send(visit."accountId") AND c."startedAt" > ${hourAgo}::timestamptz
          AND c.count >= ${limitOfAccount}::int)`
  // Each account that is visited adds up to `limit` mails, so these rows include every account that can get a turn.
  const seenMax = limit * limit
  return Prisma.sql`
    WITH RECURSIVE following AS (${accountsAfter('following', after, null, { priority, now })}),
    preceding AS (${accountsAfter('preceding', NO_ACCOUNT, after, { priority, now })}),
    visit AS (
      SELECT "accountId" FROM (SELECT "accountId" FROM following OFFSET 1) AS f
      UNION ALL SELECT "accountId" FROM (SELECT "accountId" FROM preceding OFFSET 1) AS p
    ), seen AS MATERIALIZED (
      SELECT mail."accountId", mail.id, mail."dueAt"
      FROM (SELECT "accountId" FROM visit ${hasTurn}) AS account
      CROSS JOIN LATERAL (
        SELECT "accountId", id, "dueAt" FROM "OutboxMail"
        WHERE "failedAt" IS NULL AND priority = ${priority}::int
          AND "accountId" = account."accountId" AND "dueAt" <= ${now}::timestamptz
        ORDER BY "failedAt", priority, "accountId", "dueAt" LIMIT ${limit} FOR UPDATE SKIP LOCKED
      ) AS mail
      LIMIT ${seenMax}
    )
    SELECT "accountId", id, row_number() OVER (ORDER BY place, "accountId" <= ${after}::uuid, "accountId") AS turn
    FROM (
      SELECT *, row_number() OVER (PARTITION BY "accountId" ORDER BY "dueAt", id) AS place FROM seen
    ) AS placed
    ORDER BY turn LIMIT ${limit}`
}

/**
 * Returns the body of a recursive CTE: `after`, and then the accounts with mails of this priority up to `last`, each found by
 * one step in the index. Empty if no mail is due.
 */
function accountsAfter(
  cte: string,
  after: string,
  last: string | null,
  { priority, now }: Pick<MailTurn, 'priority' | 'now'>
): Prisma.Sql {
  const upTo = last === null ? Prisma.empty : Prisma.sql`AND m."accountId" <= ${last}::uuid`
  return Prisma.sql`
    SELECT ${after}::uuid AS "accountId"
    WHERE EXISTS (SELECT FROM "OutboxMail" WHERE "failedAt" IS NULL AND "dueAt" <= ${now}::timestamptz)
    UNION ALL
    SELECT next."accountId" FROM ${Prisma.raw(cte)} AS previous CROSS JOIN LATERAL (
      SELECT m."accountId" FROM "OutboxMail" m
      WHERE m."failedAt" IS NULL AND m.priority = ${priority}::int
        AND m."accountId" > previous."accountId" ${upTo}
      ORDER BY m."failedAt", m.priority, m."accountId" LIMIT 1
    ) AS next`
}
