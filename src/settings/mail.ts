// Which server takes the mails, and who sends them: SMTP_URL and MAIL_FROM.
import { isIP } from 'node:net'
import { isMailAddress } from '../core/input/email-addresses.ts'
import { INPUT_FORMS } from '../core/input/input-forms.ts'
import { ConfigError } from './config-error.ts'
import type { Environment } from './environment.ts'

export interface MailSettings {
  /** Null: mails become files in the folder. Without a folder they stay in the outbox. */
  readonly server: MailServer | null
  /** Null in production. */
  readonly folder: string | null
  readonly from: Mailbox
  /** The domain of every Message-ID. */
  readonly domain: string
}

export interface MailServer {
  readonly host: string
  readonly port: number
  /** TLS from the first byte. If false, the connection uses STARTTLS where the server offers it. */
  readonly isSecure: boolean
  /** Null: the server asks for no login. */
  readonly login: { readonly user: string; readonly password: string } | null
}

export interface Mailbox {
  readonly name: string
  readonly address: string
}

/** Returns the mail settings. The issuer's host is the default sender's domain. Throws `ConfigError`. */
export function parseMailSettings(
  { SMTP_URL, MAIL_FROM }: Pick<Environment, 'SMTP_URL' | 'MAIL_FROM'>,
  { issuer, folder }: { issuer: string; folder: string | null }
): MailSettings {
  const server = SMTP_URL === undefined ? null : parseMailServer(SMTP_URL)
  if (SMTP_URL !== undefined && server === null) {
    throw new ConfigError(
      'SMTP_URL must be smtp://host:port or smtps://host:port. A server that requires a login needs user:password@ before the host, both percent-encoded'
    )
  }
  const domain = mailDomainOf(issuer)
  const fallback = Object.freeze({ name: 'twostep', address: `no-reply@${domain}` })
  const from = MAIL_FROM === undefined ? fallback : parseMailbox(MAIL_FROM)
  if (from === null) throw new ConfigError('MAIL_FROM must be an address, or Name <address>')
  return Object.freeze({ server, folder, from, domain })
}

/** The ports of mail submission: RFC 6409 §3.1, RFC 8314 §3.3. */
const PORTS: Readonly<Record<string, number>> = { 'smtp:': 587, 'smtps:': 465 }
const HOST = /^([a-z0-9_.-]+|\[[0-9a-f:.]+\])$/i

/** Parses `smtp://user:password@host:port` or `smtps://…`. Returns null for anything else, also if a path or a query follows. */
export function parseMailServer(text: string): MailServer | null {
  // The URL parser drops line breaks and surrounding spaces without an error.
  const url = /^[!-~]+$/.test(text) && URL.canParse(text) ? new URL(text) : null
  const port = PORTS[url?.protocol ?? '']
  if (url === null || port === undefined || !HOST.test(url.hostname)) return null
  // A query could only hold settings that the service does not read.
  if (!/^\/?$/.test(url.pathname) || url.search !== '' || url.hash !== '' || url.port === '0') {
    return null
  }
  const login = loginOf(url)
  if (login === undefined) return null
  return Object.freeze({
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? port : Number(url.port),
    isSecure: url.protocol === 'smtps:',
    login
  })
}

/** Returns null without a login; undefined for half a login, or if its percent-encoding is malformed. */
function loginOf({ username, password }: URL): MailServer['login'] | undefined {
  if (username === '' && password === '') return null
  if (username === '' || password === '') return undefined
  try {
    return Object.freeze({
      user: decodeURIComponent(username),
      password: decodeURIComponent(password)
    })
  } catch {
    return undefined
  }
}

const NAME_AND_ADDRESS = /^"?([^"<>\p{Cc}\p{Cf}]*?)"?\s*<([^<>]*)>$/u

/** Returns an address in the form of the API's input. Returns null for a text that is not exactly one address. */
export function parseAddress(text: string): string | null {
  const address = INPUT_FORMS.email(text)
  return text === text.trim() && isMailAddress(address) ? address : null
}

/** Parses `Name <address>` or an address. Returns null for anything else. */
function parseMailbox(text: string): Mailbox | null {
  const [, name = '', written = text] = NAME_AND_ADDRESS.exec(text) ?? []
  const address = parseAddress(written)
  return address === null ? null : Object.freeze({ name: name.trim(), address })
}

/** Returns the domain of an issuer's mails: its host name, or `localhost` if its host is an IP address. */
function mailDomainOf(issuer: string): string {
  const { hostname } = new URL(issuer)
  return isIP(hostname) !== 0 || hostname.startsWith('[') ? 'localhost' : hostname
}
