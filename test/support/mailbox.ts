// A real SMTP server that takes every mail, and that a test can stop, slow down and let refuse.
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
  /** As they were sent, folded and encoded. */
  headerLines: string[]
  /** Decoded, by lower-case name; structured ones are left out. */
  headers: Record<string, string>
  date: Date | undefined
  /** Everything, as it came over the wire. */
  source: string
}

export interface Mailbox {
  /** What `SMTP_URL` is to be. */
  url: string
  /** Everything that has arrived, in its order. */
  all: Mail[]
  /**
   * The next mail to that address, with a subject that matches, that this has not answered before: one that is there,
   * or one to come within ten seconds.
   */
  mailTo(address: string, subject?: RegExp): Promise<Mail>
  /** Resolves when so many mails are there; within thirty seconds. */
  arrived(count: number): Promise<void>
  /** Resolves when so many mails have been read to their end, taken or not yet; within thirty seconds. */
  read(count: number): Promise<void>
  /** What is answered to mails for or from that address from now on: a code and words. Null takes them again. */
  answer(address: string, reply: { code: number; words: string } | null): void
  /** How long every mail is thought about before it is taken. */
  slowBy(ms: number): void
  /** Refuses connections, and ends those that there are. */
  stop(): Promise<void>
  /** Listens again, on the same port. */
  start(): Promise<void>
}

export interface MailboxOptions {
  /** Asks for this login; without it, for none. */
  login?: { user: string; password: string }
  /** Speaks TLS from the first byte, with a certificate that nobody vouches for. */
  isSecure?: boolean
}

const MAIL_WITHIN_MS = 10 * 60_000
const ALL_WITHIN_MS = 10 * 60_000

/** A mail server that listens on a port of its own, gone with the test. */
export async function openMailbox(
  t: Test,
  { login, isSecure = false }: MailboxOptions = {}
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
    // A client that is killed in the middle is what some tests are about.
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

  /** Waits until something is there; an error says what was there instead. */
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

/** A mail from its source; the recipient is the envelope's business. */
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
