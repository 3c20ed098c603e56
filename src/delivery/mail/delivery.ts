// From the outbox to the mail server, at least once. A mail is deleted only after the server has accepted it, so the mail
// of a process that crashes in between is sent again. It keeps its Message-ID, by which mail programs recognise the copy.
import type { FastifyBaseLogger } from 'fastify'
import type { NodemailerError } from 'nodemailer'
import pLimit from 'p-limit'
import {
  isAboutTheMail,
  isRefusedForGood,
  nextTryAt,
  type Refusal
} from '../../core/mail/retries.ts'
import { type Support, supportFor } from '../../core/support.ts'
import type { LeasedMail, Outbox } from '../../data/trail/outbox.ts'
import type { Mailbox } from '../../settings/mail.ts'
import type { HeldMails, MailLimiting } from './limits.ts'
import { type MailTransport, type Message, senderFor } from './messages.ts'
import { writeMail } from './texts.ts'

interface MailDeliveryOptions {
  outbox: Outbox
  limiting: MailLimiting
  perAccountPerHour: number
  transport: MailTransport
  from: Mailbox
  /** The contact of accounts without their own. */
  support: Support | null
  /** Must be the same in every replica and after every start, so that a mail that is sent again keeps its Message-ID. */
  messageIdDomain: string
  now: () => Date
  log: FastifyBaseLogger
}

/** Four times CONCURRENT_MAX. Of a larger batch, the last mails would often not start within STARTED_WITHIN_MS. */
const BATCH_MAX = 20
/** Equals the number of connections to the mail server (smtp-transport.ts). */
const CONCURRENT_MAX = 5
/** How long a batch is reserved for its worker. If the worker crashes, another one can take the batch after this time. */
const LEASE_SECONDS = 60
/** From the start of the lease. A mail that is started later could still be under way when the lease ends. */
const STARTED_WITHIN_MS = 30_000
const SEND_TIMEOUT_MS = 25_000
/**
 * How long a stop waits for the mails that are being sent: half of the time that the whole stop may take. A mail that is
 * cut off is sent again later.
 */
const STOP_GRACE_MS = 5_000

export type MailDelivery = ReturnType<typeof createMailDelivery>

export function createMailDelivery(options: MailDeliveryOptions) {
  const {
    outbox,
    limiting,
    perAccountPerHour,
    transport,
    from,
    support,
    messageIdDomain,
    now,
    log
  } = options
  const deliveryLog = createDeliveryLog(log)
  let isStopping = false

  function messageOf(mail: LeasedMail): Message {
    return {
      ...writeMail(mail, {
        name: mail.accountName,
        support: supportFor({ url: mail.supportUrl, email: mail.supportEmail }, support)
      }),
      id: mail.id,
      kind: mail.kind,
      from: senderFor(mail.accountName, from),
      recipient: mail.recipient,
      date: mail.occurredAt,
      messageId: `${mail.id}@${messageIdDomain}`
    }
  }

  /** Returns true if the mail server has accepted the mail. The mail is then removed from the outbox. */
  async function deliver(mail: LeasedMail, leasedAtMs: number): Promise<boolean> {
    if (isStopping || performance.now() - leasedAtMs > STARTED_WITHIN_MS) {
      await outbox.handBack(mail, now())
      return false
    }
    try {
      await transport.send(messageOf(mail), AbortSignal.timeout(SEND_TIMEOUT_MS))
    } catch (error) {
      await settleFailure(mail, error as NodemailerError)
      return false
    }
    await outbox.removeDelivered(mail)
    log.info({ mailId: mail.id, kind: mail.kind }, 'mail sent')
    deliveryLog.logRecovery()
    return true
  }

  async function holdBack({ mails, dueAt }: HeldMails): Promise<void> {
    await outbox.hold(mails, dueAt, now())
    const { accountId, kind } = mails[0]
    log.info({ accountId, kind, mails: mails.length, dueAt }, 'mails held back')
  }

  async function settleFailure(mail: LeasedMail, error: NodemailerError): Promise<void> {
    const refusal = refusalOf(error)
    const isFinal = refusal !== null && isRefusedForGood(refusal)
    const nextAt = isFinal ? null : nextTryAt(mail, now())
    // Without the recipient's address, and without the server's reply, which often repeats the address.
    const fields = { mailId: mail.id, kind: mail.kind, tries: mail.tries, ...codesOf(error) }
    if (nextAt === null) {
      await outbox.giveUp(mail, now(), reasonOf(error))
      log.warn(fields, 'mail delivery failed')
      return
    }
    await outbox.postpone(mail, nextAt, reasonOf(error))
    if (refusal !== null && isAboutTheMail(refusal)) log.info(fields, 'mail delivery postponed')
    else deliveryLog.logFailure(error, fields)
  }

  return {
    /**
     * Sends some of the mails that are due, a few at a time, and holds back the mails that exceed a limit. Returns how many
     * the server accepted or a limit holds back. Unless it returns 0, more mails may be due. Throws if the database is
     * unavailable.
     */
    async deliverDue(): Promise<number> {
      const leasedAtMs = performance.now()
      const mails = await outbox.leaseDue({
        limit: BATCH_MAX,
        seconds: LEASE_SECONDS,
        perAccountPerHour,
        now: now()
      })
      const { admitted, held } = await limiting.admit(mails)
      for (const one of held) await holdBack(one)
      const limited = pLimit(CONCURRENT_MAX)
      const outcomes = await Promise.allSettled(
        admitted.map((mail) => limited(deliver, mail, leasedAtMs))
      )
      for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
      const sent = outcomes.filter((outcome) => outcome.status === 'fulfilled' && outcome.value)
      return sent.length + mails.length - admitted.length
    },

    /** Starts no more mails. After a few seconds it cuts off the mails that are still being sent. */
    stop(): void {
      isStopping = true
      setTimeout(() => transport.close(), STOP_GRACE_MS).unref()
    }
  }
}

function refusalOf({ command, responseCode, response }: NodemailerError): Refusal | null {
  const isRefusal = command !== undefined && responseCode !== undefined && response !== undefined
  return isRefusal ? { command, responseCode, response: String(response) } : null
}

function codesOf({ code, command, responseCode }: NodemailerError) {
  return { code, command, responseCode }
}

/** Returns the reason for the outbox row. Leaves out the reply to a login, which may repeat parts of the login. */
function reasonOf({ code, command, response, message }: NodemailerError): string {
  const detail = code === 'EAUTH' ? '' : (response ?? message)
  return [code, command, detail].filter(Boolean).join(' ')
}

/** Errors whose message names host, port and reason, and no recipient. */
const ABOUT_CONNECTIONS = new Set(['ECONNECTION', 'ESOCKET', 'ETIMEDOUT', 'EDNS', 'ETLS'])

/** Writes one line when the reason of a failure changes, because every waiting mail fails for the same reason. */
function createDeliveryLog(log: FastifyBaseLogger) {
  let last: string | null = null
  return {
    logFailure(error: NodemailerError, fields: object): void {
      const { code = error.message, responseCode } = error
      const reason = ABOUT_CONNECTIONS.has(code) ? error.message : code
      const state = `${reason} ${responseCode}`
      if (state !== last) log.warn({ ...fields, reason }, 'mail delivery failing')
      last = state
    },
    logRecovery(): void {
      if (last !== null) log.info('mail delivery recovered')
      last = null
    }
  }
}
