// Outgoing mails. The mail about an act is written in the same statement or transaction as the act. So no mail is lost, and
// no mail describes an act that was rolled back. Workers take mails from here. No transaction is open during delivery.
import { NO_ACCOUNT, type SignedAuditEvent } from '../../core/audit/events.ts'
import { PRIORITIES, priorityOf } from '../../core/mail/limits.ts'
import type { Notice, NoticeDetails, NoticeKind } from '../../core/mail/notices.ts'
import { Prisma, type PrismaClient } from '../../generated/prisma/client.ts'
import { filled, raw, type Template, template } from '../engine/statements.ts'
import { nextMails } from './mail-turns.ts'

/** A mail that only this worker has, until its lease ends. */
export type LeasedMail = Notice & {
  id: string
  /** The number of leases so far, including this one. It distinguishes this lease from a later one. */
  tries: number
  /** Empty if the account does not exist. */
  accountName: string
  /** The account's own contact. */
  supportUrl: string | null
  supportEmail: string | null
  /** The number of earlier mails that this one stands for, and when the act of the first of them occurred. */
  repeats: number
  repeatsSince: Date | null
}

export interface Lease {
  /** The maximum number of mails. */
  limit: number
  /**
   * The duration of the lease. It must be longer than a worker needs, because another worker then takes the unsettled
   * mails.
   */
  seconds: number
  /** An account that has sent this many security notices within an hour must wait until the hour is over. */
  perAccountPerHour: number
  now: Date
}

/** A mail server's error message can have any length. Its beginning is enough. */
const LAST_ERROR_MAX_LENGTH = 300
/** How long failed mails are kept. Long enough to find out why a mail did not arrive. */
const FAILED_KEPT_DAYS = 30

/** Less than a mail server accepts from one replica. 100,000 users are notified within three hours. */
const TO_EACH_PER_SECOND = 10

/** The current content of the outbox. */
export interface MailBacklog {
  /** Mails that are due, postponed or leased. */
  waiting: number
  /** Mails that a limit holds back. */
  held: number
  /** Mails that were given up. They are kept for the operator to investigate. */
  failed: number
  /** When the act of the oldest waiting mail occurred. */
  oldestWaitingAt: Date | null
}

export type Outbox = ReturnType<typeof createOutbox>

export function createOutbox(prisma: PrismaClient) {
  /** Ends a lease with this change. Returns false if another worker has leased the mail since. */
  async function endLease(
    { accountId, id, tries }: LeasedMail,
    data: Prisma.OutboxMailUpdateManyMutationInput
  ): Promise<boolean> {
    const where = { accountId, id, tries, failedAt: null }
    const ended = await prisma.outboxMail.updateMany({ where, data })
    return ended.count === 1
  }

  /** The account of each priority whose turn was last in this process. */
  const lastTurns = new Map<number, string>()

  async function leaseOf(
    priority: number,
    { limit, seconds, perAccountPerHour, now }: Lease
  ): Promise<LeasedMail[]> {
    const leasedUntil = new Date(now.getTime() + seconds * 1000)
    const after = lastTurns.get(priority) ?? NO_ACCOUNT
    const mails = await prisma.$queryRaw<LeasedMail[]>`
      WITH due AS MATERIALIZED (${nextMails({ after, priority, limit, perAccountPerHour, now })}),
      leased AS (
        UPDATE "OutboxMail" SET tries = tries + 1, "dueAt" = ${leasedUntil}::timestamptz, held = FALSE
        FROM due WHERE "OutboxMail"."accountId" = due."accountId" AND "OutboxMail".id = due.id
        RETURNING "OutboxMail".*, due.turn
      )
      SELECT leased."accountId", leased.id, kind, recipient, "occurredAt", address, details, tries,
        repeats, "repeatsSince", COALESCE("Account".name, '') AS "accountName", "supportUrl", "supportEmail"
      FROM leased LEFT JOIN "Account" ON "Account".id = leased."accountId"
      ORDER BY turn`
    const last = mails.at(-1)
    if (last) lastTurns.set(priority, last.accountId)
    return mails
  }

  return {
    /**
     * Leases mails that are due: by priority, the accounts in turn, and of one account the
     * longest due first. No two workers get the same mail during a lease.
     */
    async leaseDue(lease: Lease): Promise<LeasedMail[]> {
      const leased: LeasedMail[] = []
      for (const priority of Object.values(PRIORITIES)) {
        const limit = lease.limit - leased.length
        if (limit > 0) leased.push(...(await leaseOf(priority, { ...lease, limit })))
      }
      return leased
    },

    /**
     * Holds back leased mails of one account, recipient and kind, and the due ones like them that were not tried yet: only
     * the newest stays, which stands for all of them, and is due at that instant.
     */
    async hold(
      mails: readonly [LeasedMail, ...LeasedMail[]],
      dueAt: Date,
      now: Date
    ): Promise<void> {
      const [{ accountId, recipient, kind }] = mails
      const ids = mails.map(({ id }) => id)
      await prisma.$executeRaw`
        WITH alike AS MATERIALIZED (
          SELECT id, "occurredAt", repeats, "repeatsSince" FROM "OutboxMail"
          WHERE "accountId" = ${accountId}::uuid AND recipient = ${recipient} AND kind = ${kind}
            AND "failedAt" IS NULL
            AND (id = ANY (${ids}::uuid[]) OR tries = 0 AND (held OR "dueAt" <= ${now}::timestamptz))
          FOR UPDATE SKIP LOCKED
        ), newest AS (
          SELECT id FROM alike ORDER BY "occurredAt" DESC, id DESC LIMIT 1
        ), removed AS (
          DELETE FROM "OutboxMail" o USING alike
          WHERE o."accountId" = ${accountId}::uuid AND o.id = alike.id
            AND alike.id <> (SELECT id FROM newest)
        )
        UPDATE "OutboxMail" o SET held = TRUE, tries = 0, "dueAt" = ${dueAt}::timestamptz,
          repeats = (SELECT sum(alike.repeats) + count(*) - 1 FROM alike),
          "repeatsSince" = (SELECT min(COALESCE(alike."repeatsSince", alike."occurredAt")) FROM alike)
        FROM newest WHERE o."accountId" = ${accountId}::uuid AND o.id = newest.id`
    },

    /** Deletes a mail that the mail server has accepted, even if another worker has leased it since. */
    async removeDelivered({ accountId, id }: LeasedMail): Promise<void> {
      await prisma.outboxMail.deleteMany({ where: { accountId, id } })
    },

    /** Ends a lease. The mail is due again at that instant. Returns false if another worker has leased it since. */
    postpone(mail: LeasedMail, dueAt: Date, lastError: string): Promise<boolean> {
      return endLease(mail, { dueAt, lastError: bounded(lastError) })
    },

    /**
     * Ends the lease of a mail that was not tried, so that any worker can take it. Returns false if another worker has
     * leased it since.
     */
    handBack(mail: LeasedMail, now: Date): Promise<boolean> {
      return endLease(mail, { dueAt: now })
    },

    /** Ends a lease permanently. The mail is never due again. Returns false if another worker has leased it since. */
    giveUp(mail: LeasedMail, failedAt: Date, lastError: string): Promise<boolean> {
      return endLease(mail, { failedAt, lastError: bounded(lastError) })
    },

    /** Gives up the mails about acts before that instant that no worker has leased. Returns their number. */
    async giveUpUnsent(occurredBefore: Date, now: Date): Promise<number> {
      const givenUp = await prisma.outboxMail.updateMany({
        where: { failedAt: null, dueAt: { lte: now }, occurredAt: { lt: occurredBefore } },
        data: { failedAt: now }
      })
      return givenUp.count
    },

    /** Returns the number of waiting, held and failed mails. */
    async backlog(): Promise<MailBacklog> {
      const [backlog] = await prisma.$queryRaw<MailBacklog[]>`
        SELECT count(*) FILTER (WHERE "failedAt" IS NULL AND NOT held)::int AS waiting,
          count(*) FILTER (WHERE "failedAt" IS NULL AND held)::int AS held,
          count(*) FILTER (WHERE "failedAt" IS NOT NULL)::int AS failed,
          min("occurredAt") FILTER (WHERE "failedAt" IS NULL AND NOT held) AS "oldestWaitingAt"
        FROM "OutboxMail"`
      return backlog ?? { waiting: 0, held: 0, failed: 0, oldestWaitingAt: null }
    },

    /** Deletes mails that were given up more than a month ago, because they contain addresses. Returns their number. */
    async forgetFailed(now: Date): Promise<number> {
      const before = new Date(now.getTime() - FAILED_KEPT_DAYS * 24 * 60 * 60 * 1000)
      const forgotten = await prisma.outboxMail.deleteMany({ where: { failedAt: { lt: before } } })
      return forgotten.count
    }
  }
}

// PostgreSQL cannot store NUL. The other control characters are not needed either.
function bounded(text: string): string {
  return text.replace(/\p{Cc}+/gu, ' ').slice(0, LAST_ERROR_MAX_LENGTH)
}

/**
 * Returns the insert of a notice. With the name of a CTE of the same statement, it inserts one for each row of the CTE.
 */
export function insertNotice(notice: Notice, guardedBy?: string): Prisma.Sql {
  return filled(noticeInsert(guardedBy), notice)
}

/** Returns the same insert for a statement that is prepared once. The input must have a notice. */
export function noticeInsert(guardedBy?: string): Template<Notice | null> {
  const from = guardedBy === undefined ? '' : `FROM "${guardedBy}"`
  return template<Notice | null>`
    INSERT INTO "OutboxMail" ("accountId", kind, priority, recipient, "occurredAt", address, details, "dueAt")
    SELECT ${(notice) => notice?.accountId}::uuid, ${(notice) => notice?.kind},
      ${(notice) => notice && priorityOf(notice.kind)}::int,
      ${(notice) => notice?.recipient}, ${(notice) => notice?.occurredAt}::timestamptz,
      ${(notice) => notice?.address}, ${(notice) => JSON.stringify(notice?.details)}::jsonb,
      ${(notice) => notice?.occurredAt}::timestamptz
    ${raw(from)}`
}

/**
 * Returns the insert of a notice to each user of an account that the condition `who` on `"User" u` selects. The mails
 * become due one after the other, so that mails of other accounts are sent in between, however many users this one has.
 */
export function insertNoticeToEach<Kind extends NoticeKind>(
  { accountId, who }: { accountId: string; who: Prisma.Sql },
  event: SignedAuditEvent,
  kind: Kind,
  details: NoticeDetails[Kind]
): Prisma.Sql {
  return Prisma.sql`
    INSERT INTO "OutboxMail" ("accountId", kind, priority, recipient, "occurredAt", address, details, "dueAt")
    SELECT u."accountId", ${kind}, ${priorityOf(kind)}::int, u.email, ${event.occurredAt}::timestamptz, NULL,
      ${JSON.stringify(details)}::jsonb,
      ${event.occurredAt}::timestamptz + (row_number() OVER (ORDER BY u.id) - 1) / ${TO_EACH_PER_SECOND}::int * interval '1 second'
    FROM "User" u
    WHERE u."accountId" = ${accountId}::uuid AND u."disabledAt" IS NULL AND ${who}`
}
