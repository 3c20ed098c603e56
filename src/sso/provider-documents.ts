// Reads JSON documents of an identity provider. An account's admin has chosen its address, so this client prevents SSRF
// (OWASP ASVS 5.0 §1.3.6). Node's own client connects to exactly the address that was checked: no second lookup of the name
// can return another one. It follows no redirect, uses no proxy and reads no unbounded body.
import { type LookupAddress, lookup } from 'node:dns'
import { type IncomingMessage, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'

/**
 * Discovery documents and key sets are a few KiB; Entra ID's key set, with the certificate of each key, is about 20 KiB.
 * The limit also bounds the time that `JSON.parse` blocks the event loop: below a millisecond or two.
 */
const DOCUMENT_BYTES_MAX = 64 * 1024

interface ProviderDocumentsOptions {
  mayReach(address: string): boolean
  /** Whether http is allowed in addition to https. For development only. */
  allowsHttp: boolean
}

/**
 * Reads the document at an address. Rejects if the address is not allowed, if the response is not a JSON document of
 * at most 64 KiB, or if the signal aborts first.
 */
export type ReadDocument = (address: string, signal: AbortSignal) => Promise<unknown>

/** Creates the reader of provider documents. */
export function createProviderDocuments({
  mayReach,
  allowsHttp
}: ProviderDocumentsOptions): ReadDocument {
  const checkedLookup: LookupFunction = (hostname, options, done) => {
    lookup(hostname, { ...options, all: true }, (error, addresses) => {
      const [first] = addresses ?? []
      if (error || !first) return done(error ?? new Error(`${hostname} has no address`), '')
      // A single address that must not be reached makes the whole name suspicious.
      const isForbidden = addresses.some(({ address }: LookupAddress) => !mayReach(address))
      if (isForbidden)
        return done(new Error(`${hostname} has an address outside the public network`), '')
      if (options.all) return done(null, addresses)
      return done(null, first.address, first.family)
    })
  }

  /** Parses an address. Throws if it is not allowed. */
  function allowedUrl(address: string): URL {
    const url = new URL(address)
    const isSecure = url.protocol === 'https:' || (allowsHttp && url.protocol === 'http:')
    if (!isSecure) throw new Error(`the scheme ${url.protocol} is not allowed`)
    if (url.username !== '' || url.password !== '')
      throw new Error('the address must not contain a user')
    // Node looks up no literal address, so `checkedLookup` never sees it.
    const literal = url.hostname.replace(/^\[|\]$/g, '')
    if (isIP(literal) !== 0 && !mayReach(literal)) {
      throw new Error(`${literal} is an address outside the public network`)
    }
    return url
  }

  return async (address, signal) => {
    const url = allowedUrl(address)
    const request = url.protocol === 'https:' ? requestHttps : requestHttp
    const headers = { accept: 'application/json', 'accept-encoding': 'identity' }
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      // Without an agent, no connection is reused that was opened under other rules.
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
  const { statusCode } = response
  // A redirect is rejected too: it would lead to an address that was not checked.
  if (statusCode !== 200) throw new Error(`the response has the status ${statusCode}`)
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of response as AsyncIterable<Buffer>) {
    bytes += part.length
    if (bytes > DOCUMENT_BYTES_MAX) {
      throw new Error(`the response has more than ${DOCUMENT_BYTES_MAX} bytes`)
    }
    parts.push(part)
  }
  // The media type says nothing more: providers behind object storage send `text/plain`, some with a byte order mark, which
  // the decoder removes.
  return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(parts)))
}
