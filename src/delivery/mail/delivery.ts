// From the outbox to the mail server, at least once: a mail is deleted after the server has taken it, so a process that
// dies in between leaves it to be sent again. It then carries the same Message-ID, by which mail programs know it.
import type { FastifyBaseLogger } from 'fastify'
import type { NodemailerError } from 'nodemailer'
import pLimit from 'p-limit'
import {
  isAboutTheMail,
  isRefusedForGood,
  nextTryAt,
  type Refusal
} from '../../core/mail/retries.ts'
import type { LeasedMail, Outbox } from '../../data/trail/outbox.ts'
import type { Mailbox } from '../../settings/mail.ts'
import type { MailTransport, Message } from './messages.ts'
import { writeMail } from './texts.ts'

export interface MailDeliveryOptions {
  outbox: Outbox
  transport: MailTransport
  from: Mailbox
  /** The same at every replica and every start, as the Message-IDs are to be. */
  messageIdDomain: string
  now: () => Date
  log: FastifyBaseLogger
}

/** A few rounds, so that the last of them is as a rule begun while the lease lasts. */
const BATCH_MAX = 20
/** As many as there are connections to the mail server (smtp-transport.ts). */
const AT_ONCE_MAX = 5
/** How long nobody else tries the mails of a worker that died. */
const LEASE_SECONDS = 60
/** The last mail that is begun has the time it may take before the lease ends, with something to spare. */
const BEGUN_WITHIN_MS = 30_000
const SEND_TIMEOUT_MS = 25_000
/** Half of what a stop may take: a mail under way is better sent than cut off and sent twice. */
const STOP_GRACE_MS = 5_000

export type MailDelivery = ReturnType<typeof createMailDelivery>

export function createMailDelivery(options: MailDeliveryOptions) {
  const { outbox, transport, from, messageIdDomain, now, log } = options
  const trouble = createTroubleLog(log)
  let isStopping = false

  function messageOf(mail: LeasedMail): Message {
    const { id, kind, recipient, occurredAt } = mail
    return {
      ...writeMail(mail, mail.accountName),
      ...{ id, kind, from, recipient, date: occurredAt },
      messageId: `${id}@${messageIdDomain}`
    }
  }

  /** True: the mail is out, and out of the outbox. */
  async function deliver(mail: LeasedMail, leasedAtMs: number): Promise<boolean> {
    if (isStopping || performance.now() - leasedAtMs > BEGUN_WITHIN_MS) {
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
    trouble.isOver()
    return true
  }

  async function settleFailure(mail: LeasedMail, error: NodemailerError): Promise<void> {
    const refusal = refusalOf(error)
    const isFinal = refusal !== null && isRefusedForGood(refusal)
    const nextAt = isFinal ? null : nextTryAt(mail, now())
    // Neither the address nor the server's words, which often repeat it.
    const told = { mailId: mail.id, kind: mail.kind, tries: mail.tries, ...codesOf(error) }
    if (nextAt === null) {
      await outbox.giveUp(mail, now(), wordsOf(error))
      log.warn(told, 'mail given up')
      return
    }
    await outbox.postpone(mail, nextAt, wordsOf(error))
    if (refusal !== null && isAboutTheMail(refusal)) log.info(told, 'mail put off')
    else trouble.is(error, told)
  }

  return {
    /**
     * Sends some of what is due, a few mails at once, and answers how many got out: while it is not none, more may be
     * due. Throws when the database is away.
     */
    async deliverDue(): Promise<number> {
      const leasedAtMs = performance.now()
      const mails = await outbox.leaseDue({ limit: BATCH_MAX, seconds: LEASE_SECONDS, now: now() })
      const inTurn = pLimit(AT_ONCE_MAX)
      const outcomes = await Promise.allSettled(
        mails.map((mail) => inTurn(deliver, mail, leasedAtMs))
      )
      for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
      return outcomes.filter((outcome) => outcome.status === 'fulfilled' && outcome.value).length
    },

    /** Begins no more mails, and cuts off what is still under way after a few seconds. */
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

/** For whoever looks at the row. What is said in answer to a login may repeat parts of it, and is left out. */
function wordsOf({ code, command, response, message }: NodemailerError): string {
  const said = code === 'EAUTH' ? '' : (response ?? message)
  return [code, command, said].filter(Boolean).join(' ')
}

/** Errors whose message names host, port and reason, and nobody's address. */
const ABOUT_CONNECTIONS = new Set(['ECONNECTION', 'ESOCKET', 'ETIMEDOUT', 'EDNS', 'ETLS'])

/** One line for each new state of affairs: every mail that waits meets the same trouble, again and again. */
function createTroubleLog(log: FastifyBaseLogger) {
  let last: string | null = null
  return {
    is(error: NodemailerError, told: object): void {
      const { code = error.message, responseCode } = error
      const reason = ABOUT_CONNECTIONS.has(code) ? error.message : code
      const state = `${reason} ${responseCode}`
      if (state !== last) log.warn({ ...told, reason }, 'mails are not getting out')
      last = state
    },
    isOver(): void {
      if (last !== null) log.info('mails are getting out again')
      last = null
    }
  }
}
