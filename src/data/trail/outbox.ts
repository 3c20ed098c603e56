// Mails on their way out. Written by the statement or the transaction of what they tell about, so that none is lost and
// none tells of what never happened; workers take them from here, and no transaction is open while they mail.
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import type { Notice, NoticeDetails, NoticeKind } from '../../core/mail/notices.ts'
import { Prisma, type PrismaClient } from '../../generated/prisma/client.ts'
import { filled, raw, type Template, template } from '../engine/statements.ts'

/** A mail that this worker alone has, until its lease ends. */
export type LeasedMail = Notice & {
  id: string
  /** Leases so far, this one included: what tells it from a later one. */
  tries: number
  /** Empty when the account is gone. */
  accountName: string
}

export interface Lease {
  /** Mails at most. */
  limit: number
  /** Longer than a worker takes, since another one takes the mails that are not settled by then. */
  seconds: number
  now: Date
}

/** What a server says is as long as it likes; the head of it tells enough. */
const LAST_ERROR_MAX_LENGTH = 300
/** Long enough for somebody to ask what became of a mail. */
const FAILED_KEPT_DAYS = 30

/** Below what a mail server takes from one replica: 100,000 users are told within three hours. */
const TO_EACH_PER_SECOND = 10
/** What is in the outbox just now. */
export interface MailBacklog {
  /** Due, put off, or with a worker. */
  waiting: number
  /** Given up, and kept for whoever looks into it. */
  failed: number
  /** When happened what the oldest of those that wait tells about. */
  oldestWaitingAt: Date | null
}

export type Outbox = ReturnType<typeof createOutbox>

export function createOutbox(prisma: PrismaClient) {
  /** Ends a lease and leaves the mail so. False: another worker has leased it since. */
  async function isEnded(
    { accountId, id, tries }: LeasedMail,
    data: Prisma.OutboxMailUpdateManyMutationInput
  ): Promise<boolean> {
    const where = { accountId, id, tries, failedAt: null }
    const ended = await prisma.outboxMail.updateMany({ where, data })
    return ended.count === 1
  }

  return {
    /** Takes what is due, the longest due first. No two workers get the same mail while a lease lasts. */
    async leaseDue({ limit, seconds, now }: Lease): Promise<LeasedMail[]> {
      const leasedUntil = new Date(now.getTime() + seconds * 1000)
      return prisma.$queryRaw<LeasedMail[]>`
        WITH due AS MATERIALIZED (
          SELECT "accountId", id FROM "OutboxMail"
          WHERE "failedAt" IS NULL AND "dueAt" <= ${now}::timestamptz
          ORDER BY "dueAt" LIMIT ${limit} FOR UPDATE SKIP LOCKED
        ), leased AS (
          UPDATE "OutboxMail" SET tries = tries + 1, "dueAt" = ${leasedUntil}::timestamptz
          FROM due WHERE "OutboxMail"."accountId" = due."accountId" AND "OutboxMail".id = due.id
          RETURNING "OutboxMail".*
        )
        SELECT leased."accountId", leased.id, kind, recipient, "occurredAt", address, details, tries,
          COALESCE("Account".name, '') AS "accountName"
        FROM leased LEFT JOIN "Account" ON "Account".id = leased."accountId"
        ORDER BY "occurredAt"`
    },

    /** Deletes a mail that the mail server has taken, whoever leases it by now. */
    async removeDelivered({ accountId, id }: LeasedMail): Promise<void> {
      await prisma.outboxMail.deleteMany({ where: { accountId, id } })
    },

    /** Ends a lease; the mail is due again at that instant. False: another worker has leased it since. */
    postpone(mail: LeasedMail, dueAt: Date, lastError: string): Promise<boolean> {
      return isEnded(mail, { dueAt, lastError: bounded(lastError) })
    },

    /** Ends a lease of a mail that was not tried, for anybody to take. False: another worker has leased it since. */
    handBack(mail: LeasedMail, now: Date): Promise<boolean> {
      return isEnded(mail, { dueAt: now })
    },

    /** Ends a lease for good; the mail is never due again. False: another worker has leased it since. */
    giveUp(mail: LeasedMail, failedAt: Date, lastError: string): Promise<boolean> {
      return isEnded(mail, { failedAt, lastError: bounded(lastError) })
    },

    /** Gives up what happened before that instant and nobody has leased. Answers how many. */
    async giveUpUnsent(occurredBefore: Date, now: Date): Promise<number> {
      const givenUp = await prisma.outboxMail.updateMany({
        where: { failedAt: null, dueAt: { lte: now }, occurredAt: { lt: occurredBefore } },
        data: { failedAt: now }
      })
      return givenUp.count
    },

    async backlog(): Promise<MailBacklog> {
      const [backlog] = await prisma.$queryRaw<MailBacklog[]>`
        SELECT count(*) FILTER (WHERE "failedAt" IS NULL)::int AS waiting,
          count(*) FILTER (WHERE "failedAt" IS NOT NULL)::int AS failed,
          min("occurredAt") FILTER (WHERE "failedAt" IS NULL) AS "oldestWaitingAt"
        FROM "OutboxMail"`
      return backlog ?? { waiting: 0, failed: 0, oldestWaitingAt: null }
    },

    /** Forgets mails that were given up a month ago: they hold addresses. Answers how many. */
    async forgetFailed(now: Date): Promise<number> {
      const before = new Date(now.getTime() - FAILED_KEPT_DAYS * 24 * 60 * 60 * 1000)
      const forgotten = await prisma.outboxMail.deleteMany({ where: { failedAt: { lt: before } } })
      return forgotten.count
    }
  }
}

// PostgreSQL stores no NUL, and nobody needs the other control characters either.
function bounded(text: string): string {
  return text.replace(/\p{Cc}+/gu, ' ').slice(0, LAST_ERROR_MAX_LENGTH)
}

/** The insert of a notice; with the name of a CTE of the same statement, as many times as that has rows. */
export function insertNotice(notice: Notice, guardedBy?: string): Prisma.Sql {
  return filled(noticeInsert(guardedBy), notice)
}

/** The same for a statement that is prepared once; for use where there is a notice. */
export function noticeInsert(guardedBy?: string): Template<Notice | null> {
  const from = guardedBy === undefined ? '' : `FROM "${guardedBy}"`
  return template<Notice | null>`
    INSERT INTO "OutboxMail" ("accountId", kind, recipient, "occurredAt", address, details, "dueAt")
    SELECT ${(notice) => notice?.accountId}::uuid, ${(notice) => notice?.kind},
      ${(notice) => notice?.recipient}, ${(notice) => notice?.occurredAt}::timestamptz,
      ${(notice) => notice?.address}, ${(notice) => JSON.stringify(notice?.details)}::jsonb,
      ${(notice) => notice?.occurredAt}::timestamptz
    ${raw(from)}`
}

/**
 * The insert of a notice to each user of an account whom the condition `who`, on `"User" u`, picks. They get due one
 * after the other, so that mails of other accounts get out in between, however many users this one has.
 */
export function insertNoticeToEach<Kind extends NoticeKind>(
  { accountId, who }: { accountId: string; who: Prisma.Sql },
  event: SignedAuditEvent,
  kind: Kind,
  details: NoticeDetails[Kind]
): Prisma.Sql {
  return Prisma.sql`
    INSERT INTO "OutboxMail" ("accountId", kind, recipient, "occurredAt", address, details, "dueAt")
    SELECT u."accountId", ${kind}, u.email, ${event.occurredAt}::timestamptz, NULL,
      ${JSON.stringify(details)}::jsonb,
      ${event.occurredAt}::timestamptz + (row_number() OVER (ORDER BY u.id) - 1) / ${TO_EACH_PER_SECOND}::int * interval '1 second'
    FROM "User" u
    WHERE u."accountId" = ${accountId}::uuid AND u."disabledAt" IS NULL AND ${who}`
}
