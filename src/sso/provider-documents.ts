// Reads a JSON document of an identity provider, whose address an account's admin has chosen (OWASP ASVS 5.0 §1.3.6,
// SSRF). A client of our own, on Node's: the address that was checked is the one that is connected to, so that no name
// can be answered twice, differently; and no library's redirect, proxy or unbounded body is in between.
import { type LookupAddress, lookup } from 'node:dns'
import { type IncomingMessage, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'

/** Discovery documents and key sets are a few KiB. */
const DOCUMENT_BYTES_MAX = 256 * 1024

const MEDIA_TYPE = /^application\/([\w.-]+\+)?json\s*(;|$)/i

export interface ProviderDocumentsOptions {
  mayReach(address: string): boolean
  /** Plain http too: for development alone. */
  allowsHttp: boolean
}

/** Reads the document at an address. Throws for whatever is not a JSON document there, in time. */
export type ReadDocument = (address: string, signal: AbortSignal) => Promise<unknown>

export function createProviderDocuments({
  mayReach,
  allowsHttp
}: ProviderDocumentsOptions): ReadDocument {
  const checkedLookup: LookupFunction = (hostname, options, done) => {
    lookup(hostname, { ...options, all: true }, (error, addresses) => {
      const [first] = addresses ?? []
      if (error || !first) return done(error ?? new Error(`${hostname} has no address`), '')
      // One that must not be reached makes the name suspect as a whole.
      const isRefused = addresses.some(({ address }: LookupAddress) => !mayReach(address))
      if (isRefused) return done(new Error(`${hostname} is at an address of no public network`), '')
      if (options.all) return done(null, addresses)
      return done(null, first.address, first.family)
    })
  }

  function checked(address: string): URL {
    const url = new URL(address)
    const isSecure = url.protocol === 'https:' || (allowsHttp && url.protocol === 'http:')
    if (!isSecure) throw new Error(`${url.protocol} is not read`)
    if (url.username !== '' || url.password !== '') throw new Error('an address names no user')
    // A literal address is connected to without being looked up.
    const literal = url.hostname.replace(/^\[|\]$/g, '')
    if (isIP(literal) !== 0 && !mayReach(literal)) {
      throw new Error(`${literal} is an address of no public network`)
    }
    return url
  }

  return async (address, signal) => {
    const url = checked(address)
    const request = url.protocol === 'https:' ? requestHttps : requestHttp
    const headers = { accept: 'application/json', 'accept-encoding': 'identity' }
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      // Without an agent no connection is kept, and none that was made under other rules is used.
      const options = { agent: false, headers, lookup: checkedLookup, signal }
      request(url, options, resolve).once('error', reject).end()
    })
    try {
      return await readJson(response)
    } finally {
      response.destroy()
    }
  }
}

async function readJson(response: IncomingMessage): Promise<unknown> {
  const { statusCode, headers } = response
  // A redirect is no document either: it would lead to an address that nobody has checked.
  if (statusCode !== 200) throw new Error(`answered ${statusCode}`)
  const mediaType = headers['content-type'] ?? ''
  if (!MEDIA_TYPE.test(mediaType)) throw new Error('answered something else than JSON')
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of response as AsyncIterable<Buffer>) {
    bytes += part.length
    if (bytes > DOCUMENT_BYTES_MAX)
      throw new Error(`answered more than ${DOCUMENT_BYTES_MAX} bytes`)
    parts.push(part)
  }
  return JSON.parse(Buffer.concat(parts).toString())
}
