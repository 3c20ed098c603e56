// URLs, origins and networks. Each is accepted in one exact form, so that no two readers understand it differently.
import { isIP, isIPv6 } from 'node:net'
import { ConfigError } from './config-error.ts'

/**
 * Parses ISSUER. In production it must be https (RFC 8414 §2), except on the machine itself, where a proxy or a trial may
 * use http. Throws `ConfigError`.
 */
export function parseIssuer(text: string, { isProduction }: { isProduction: boolean }): string {
  const url = URL.canParse(text) ? new URL(text) : null
  // Verifiers compare `iss` byte by byte, so the only accepted spelling is the one that URL parsers agree on.
  const isNormal = url && (url.href === text || url.href === `${text}/`) && !text.endsWith('/')
  const isIssuer = isNormal && /^https?:\/\/[^?#@]+$/.test(text)
  if (!isIssuer) {
    throw new ConfigError(
      'ISSUER must be an http(s) URL in its normal form, without credentials, a query, a fragment or a slash at its end'
    )
  }
  if (isProduction && url.protocol === 'http:' && !isThisMachine(url.hostname)) {
    throw new ConfigError('ISSUER must be an https URL in production, except on localhost')
  }
  return text
}

function isThisMachine(hostname: string): boolean {
  return /^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname)
}

/** Parses HOST, an address or a host name. An IPv6 address may be in brackets. Throws `ConfigError`. */
export function parseHost(text: string): string {
  const host = text.replace(/^\[(.*)\]$/, '$1')
  if (isIP(host) !== 0 || (host === text && /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i.test(host)))
    return host
  throw new ConfigError('HOST must be an address such as 127.0.0.1 or ::, or a host name')
}

/** Parses an http(s) URL. Throws `ConfigError`, which names the key. */
export function parseHttpUrl(key: string, text: string): string {
  if (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)) return text
  throw new ConfigError(`${key} must be an http(s) URL`)
}

/** Parses CORS_ORIGINS, a list of exact origins without wildcards. Throws `ConfigError`. */
export function parseOrigins(text: string): readonly string[] {
  const origins = itemsOf(text)
  for (const origin of origins) {
    if (!isExactOrigin(origin)) {
      throw new ConfigError('CORS_ORIGINS must list exact origins such as https://app.example.com')
    }
  }
  return Object.freeze(origins)
}

/** The schemes of pages inside apps and browser extensions. URL parsers give their pages no origin, but browsers send one. */
const APP_ORIGIN =
  /^(capacitor|ionic|tauri|app|chrome-extension|moz-extension|safari-web-extension):\/\/[a-z0-9.-]+$/

function isExactOrigin(text: string): boolean {
  if (APP_ORIGIN.test(text)) return true
  return /^https?:\/\/[^*]+$/.test(text) && URL.canParse(text) && new URL(text).origin === text
}

/** Parses a list of addresses and networks, none of which is nearly the whole internet. Throws `ConfigError`. */
export function parseNetworks(key: string, text: string): readonly string[] {
  const networks = itemsOf(text)
  for (const network of networks) {
    const [, address = '', bits] = /^([0-9a-f.:]+)(?:\/(\d{1,3}))?$/i.exec(network) ?? []
    const family = isIP(address)
    if (family === 0 || Number(bits ?? 0) > (family === 4 ? 32 : 128)) {
      throw new ConfigError(`${key} must list addresses or networks such as 10.0.0.0/8`)
    }
    if (bits !== undefined && (Number(bits) < 8 || isAmongMapped(address))) {
      throw new ConfigError(`${key} must not trust (nearly) every address`)
    }
  }
  return Object.freeze(networks)
}

// Every IPv4 address has an IPv6 twin in ::/8: ::ffff:0:0/96 is all of IPv4.
function isAmongMapped(address: string): boolean {
  return isIPv6(address) && /^\[(::|[0-9a-f]{1,2}:)/.test(new URL(`http://[${address}]`).hostname)
}

function itemsOf(list: string): string[] {
  return list
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')
}
