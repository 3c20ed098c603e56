// By whom mails are taken, and from whom they come, as the environment says it.
import { isIP } from 'node:net'

export interface MailSettings {
  /** Null: mails become files in the folder, or stay where they are when there is none. */
  readonly server: MailServer | null
  /** Null in production. */
  readonly folder: string | null
  readonly from: Mailbox
  /** What every Message-ID ends in. */
  readonly domain: string
}

export interface MailServer {
  readonly host: string
  readonly port: number
  /** TLS from the first byte; otherwise by STARTTLS, where the server offers that. */
  readonly isSecure: boolean
  /** Null: the server takes mails from us as we come. */
  readonly login: { readonly user: string; readonly password: string } | null
}

export interface Mailbox {
  readonly name: string
  readonly address: string
}

/** The ports of submission: RFC 6409 §3.1, RFC 8314 §3.3. */
const PORTS: Readonly<Record<string, number>> = { 'smtp:': 587, 'smtps:': 465 }
const HOST = /^([a-z0-9_.-]+|\[[0-9a-f:.]+\])$/i

/** Reads `smtp://user:password@host:port`, or `smtps://…`; null when it is something else, or more. */
export function parseMailServer(text: string): MailServer | null {
  // URL itself drops line breaks, and what is around it.
  const url = /^[!-~]+$/.test(text) && URL.canParse(text) ? new URL(text) : null
  const port = PORTS[url?.protocol ?? '']
  if (url === null || port === undefined || !HOST.test(url.hostname)) return null
  // A query could only be a setting that we don't read.
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

// Undefined for half a login, and for one that is not percent-encoded.
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
const ADDRESS = /^[a-z0-9!#$%&'*+/=?^_`{|}~.-]{1,254}@[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?$/i

/** Whether a text is one e-mail address, as the API takes them, and nothing else. */
export function isAddress(text: string): boolean {
  return ADDRESS.test(text)
}

/** Reads `Name <address>`, or an address alone; null when it is neither. */
export function parseMailbox(text: string): Mailbox | null {
  const [, name = '', address = text] = NAME_AND_ADDRESS.exec(text) ?? []
  return isAddress(address) ? Object.freeze({ name: name.trim(), address }) : null
}

/** The domain that mails of an issuer come from. Behind an @ stands a name: where the issuer has none, this machine's. */
export function mailDomainOf(issuer: string): string {
  const { hostname } = new URL(issuer)
  return isIP(hostname) !== 0 || hostname.startsWith('[') ? 'localhost' : hostname
}
