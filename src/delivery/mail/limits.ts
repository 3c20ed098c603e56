// Limits the mails to one recipient and of one account. Otherwise an account could flood a mailbox, or the mail server, with
// notices about a user whom it changes again and again.
import { createHmac } from 'node:crypto'
import {
  isWithinLimit,
  MAIL_WINDOW_SECONDS,
  type MailLimits,
  PRIORITIES,
  priorityOf
} from '../../core/mail/limits.ts'
import type { MailCounts, MailsToCount } from '../../data/trail/mail-counts.ts'
import type { LeasedMail } from '../../data/trail/outbox.ts'

export interface MailLimitingOptions {
  counts: MailCounts
  /** The key of the hashes that name recipients in the counts, so that the counts contain no address. */
  key: Uint8Array
  limits: MailLimits
  now: () => Date
}

/** Mails of one account, recipient and kind that must wait. */
export interface HeldMails {
  mails: [LeasedMail, ...LeasedMail[]]
  dueAt: Date
}

export interface Admission {
  /** The mails to send now. */
  admitted: LeasedMail[]
  held: HeldMails[]
}

export type MailLimiting = ReturnType<typeof createMailLimiting>

export function createMailLimiting({ counts, key, limits, now }: MailLimitingOptions) {
  function keyOf(...parts: string[]): string {
    return createHmac('sha256', key).update(JSON.stringify(parts)).digest('hex')
  }

  const keyAmongAll = ({ recipient, kind }: LeasedMail) => keyOf('recipient', recipient, kind)
  const keyInAccount = ({ accountId, recipient, kind }: LeasedMail) =>
    keyOf('account', accountId, recipient, kind)

  async function countAccounts(mails: readonly LeasedMail[]): Promise<void> {
    const notices = mails.filter(({ kind }) => priorityOf(kind) !== PRIORITIES.announcement)
    // The claim of the next mails finds the count by the bytes of the account's id.
    const keys = notices.map(({ accountId }) => accountId.replaceAll('-', ''))
    await counts.add(tally(keys), now())
  }

  return {
    /**
     * Counts the mails that were not tried before, and decides which of them may be sent now. A mail that is tried again was
     * counted at its first try.
     */
    async admit(leased: readonly LeasedMail[]): Promise<Admission> {
      const fresh = leased.filter(({ tries }) => tries === 1)
      const keys = fresh.flatMap((mail) => [keyAmongAll(mail), keyInAccount(mail)])
      const counted = await counts.add(tally(keys), now())
      const placeOf = placesIn(keys, (name) => counted.get(name)?.count ?? 0)
      const held = new Map<string, HeldMails>()
      const admitted = leased.filter((mail) => {
        if (mail.tries > 1) return true
        const [amongAll, inAccount] = [keyAmongAll(mail), keyInAccount(mail)]
        const place = { ofAll: placeOf(amongAll), ofAccount: placeOf(inAccount) }
        if (isWithinLimit(place, limits)) return true
        const startedAt = counted.get(amongAll)?.startedAt ?? now()
        const dueAt = new Date(startedAt.getTime() + MAIL_WINDOW_SECONDS * 1000)
        const alike = held.get(inAccount)
        if (alike) alike.mails.push(mail)
        else held.set(inAccount, { mails: [mail], dueAt })
        return false
      })
      await countAccounts(admitted.filter(({ tries }) => tries === 1))
      return { admitted, held: [...held.values()] }
    }
  }
}

/** Returns each key once, with the number of its mails. */
function tally(keys: readonly string[]): MailsToCount[] {
  const mails = new Map<string, number>()
  for (const key of keys) mails.set(key, (mails.get(key) ?? 0) + 1)
  return [...mails].map(([key, count]) => ({ key, mails: count }))
}

/** Returns a function that returns the place of the next mail of a key. The counts contain all of these mails already. */
function placesIn(
  keys: readonly string[],
  countOf: (key: string) => number
): (key: string) => number {
  const next = new Map(tally(keys).map(({ key, mails }) => [key, countOf(key) - mails]))
  return (key) => {
    const place = (next.get(key) ?? 0) + 1
    next.set(key, place)
    return place
  }
}
