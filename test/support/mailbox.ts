// A real SMTP server that accepts every mail. A test can stop it, slow it down and make it reject mails.
import { EventEmitter, once } from 'node:events'
import type { AddressInfo } from 'node:net'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { simpleParser } from 'mailparser'
import { SMTPServer, type SMTPServerAddress } from 'smtp-server'
import type { Test } from 'tap'

/** A mail that has arrived. */
export interface Mail {
  /** The recipient of the envelope, whatever the headers say. */
  to: string
  subject: string
  text: string
  html: string
  messageId: string
  /** As sent, folded and encoded. */
  headerLines: string[]
  /** Decoded, by lower-case name; structured ones are left out. */
  headers: Record<string, string>
  date: Date | undefined
  /** The whole mail, as received. */
  source: string
}

export interface Mailbox {
  /** The value for `SMTP_URL`. */
  url: string
  /** All mails that have arrived, in their order. */
  all: Mail[]
  /**
   * Returns the next mail to that address with a matching subject that no earlier call has returned. Waits for it if
   * necessary, for at most ten minutes.
   */
  mailTo(address: string, subject?: RegExp): Promise<Mail>
  /** Resolves when `count` mails have arrived, within ten minutes. */
  arrived(count: number): Promise<void>
  /** Resolves when `count` mails have been read to their end, accepted or not yet, within ten minutes. */
  read(count: number): Promise<void>
  /** Sets the reply to all mails to or from that address: a code and a text. Null accepts the mails again. */
  answer(address: string, reply: { code: number; words: string } | null): void
  /** Delays the acceptance of every mail. */
  slowBy(ms: number): void
  /** Refuses new connections, and ends the open ones. */
  stop(): Promise<void>
  /** Listens again, on the same port. */
  start(): Promise<void>
}

export interface MailboxOptions {
  /** Requires this login. Without it, the server requires none. */
  login?: { user: string; password: string }
  /** Uses TLS from the first byte, with a certificate that no authority has signed. */
  isSecure?: boolean
  /** Whether the server supports addresses in all scripts (RFC 6531). True by default. */
  hasSmtpUtf8?: boolean
}

const MAIL_WITHIN_MS = 10 * 60_000
const ALL_WITHIN_MS = 10 * 60_000

/** Opens a mail server on a port of its own, and closes it with the test. */
export async function openMailbox(
  t: Test,
  { login, isSecure = false, hasSmtpUtf8 = true }: MailboxOptions = {}
): Promise<Mailbox> {
  const all: Mail[] = []
  const handedOut = new Set<Mail>()
  const replies = new Map<string, { code: number; words: string }>()
  const arrivals = new EventEmitter().setMaxListeners(0)
  let slowMs = 0
  let readSoFar = 0
  let server = await listen(0)
  const { port } = server.server.address() as AddressInfo

  function listen(onPort: number): Promise<SMTPServer> {
    const made = new SMTPServer({
      secure: isSecure,
      disabledCommands: login ? ['STARTTLS'] : ['STARTTLS', 'AUTH'],
      authOptional: !login,
      allowInsecureAuth: true,
      hideSMTPUTF8: !hasSmtpUtf8,
      closeTimeout: 1,
      onAuth: ({ username, password }, _session, done) => {
        const isRight = username === login?.user && password === login?.password
        done(isRight ? null : new Error(`wrong login of ${username}`), { user: username })
      },
      onMailFrom: ({ address }, _session, done) => done(refusalOf(address)),
      onRcptTo: ({ address }, _session, done) => done(refusalOf(address)),
      onData: (stream, { envelope }, done) => {
        read(stream, envelope.rcptTo).then(() => done(), done)
      }
    })
    // Some tests end the client's process in the middle of a mail.
    made.on('error', () => {})
    return new Promise((resolve, reject) => {
      made.server.once('error', reject)
      made.listen(onPort, '127.0.0.1', () => resolve(made))
    })
  }

  function refusalOf(address: string): Error | null {
    const reply = replies.get(address)
    return reply ? Object.assign(new Error(reply.words), { responseCode: reply.code }) : null
  }

  async function read(stream: Readable, recipients: SMTPServerAddress[]) {
    const source = Buffer.concat(await stream.toArray())
    const mails = await Promise.all(recipients.map(({ address }) => parse(source, address)))
    readSoFar += mails.length
    arrivals.emit('mail')
    if (slowMs > 0) await sleep(slowMs)
    all.push(...mails)
    arrivals.emit('mail')
  }

  /** Waits until `find` returns something. The error lists the mails that arrived instead. */
  async function waitFor<Found>(
    what: string,
    withinMs: number,
    find: () => Found | undefined
  ): Promise<Found> {
    const signal = AbortSignal.timeout(withinMs)
    for (;;) {
      const found = find()
      if (found !== undefined) return found
      await once(arrivals, 'mail', { signal }).catch(() => {
        const there = all.map(({ to, subject }) => `${to}: ${subject}`).join('\n')
        throw new Error(`${what} has not come within ${withinMs} ms, but:\n${there || 'nothing'}`)
      })
    }
  }

  const close = () => new Promise<void>((resolve) => server.close(resolve))
  t.teardown(close)
  const credentials = login ? `${login.user}:${encodeURIComponent(login.password)}@` : ''
  return {
    url: `${isSecure ? 'smtps' : 'smtp'}://${credentials}127.0.0.1:${port}`,
    all,
    async mailTo(address, subject = /^/) {
      const mail = await waitFor(`a mail to ${address} about ${subject}`, MAIL_WITHIN_MS, () =>
        all.find((it) => it.to === address && subject.test(it.subject) && !handedOut.has(it))
      )
      handedOut.add(mail)
      return mail
    },
    async arrived(count) {
      await waitFor(`mail number ${count}`, ALL_WITHIN_MS, () => all[count - 1])
    },
    async read(count) {
      const isRead = () => (readSoFar >= count ? true : undefined)
      await waitFor(`the end of mail number ${count}`, ALL_WITHIN_MS, isRead)
    },
    answer(address, reply) {
      if (reply) replies.set(address, reply)
      else replies.delete(address)
    },
    slowBy(ms) {
      slowMs = ms
    },
    stop: close,
    async start() {
      server = await listen(port)
    }
  }
}

/** Parses a mail. The recipient comes from the envelope. */
export async function parse(source: Buffer | string, to: string): Promise<Mail> {
  const {
    subject = '',
    text = '',
    html,
    messageId = '',
    date,
    ...parsed
  } = await simpleParser(source)
  return {
    ...{ to, subject, text, messageId, date },
    html: html || '',
    headerLines: parsed.headerLines.map(({ line }) => line),
    headers: Object.fromEntries(
      [...parsed.headers].flatMap(([name, value]) =>
        typeof value === 'string' ? [[name, value]] : []
      )
    ),
    source: source.toString()
  }
}
