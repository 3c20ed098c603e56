// One spelling for every network address. Limits count by it, and audit events, mails and logs show it. If a client
// could choose between two spellings, each spelling would be a new client with a new limit.
import ipaddr from 'ipaddr.js'

/** Longer text is no address. The longest form is a bracketed IPv6 address with an IPv4 tail, a zone and a port. */
const LENGTH_MAX = 100
/** `[v6]`, `[v6]:port`, `v4:port`, or an address alone. A zone names an interface of the sender, and means nothing here. */
const FORMS = [
  /^\[([0-9a-f:.]+)(?:%[^\]]*)?\](?::\d{1,5})?$/i,
  /^(\d+\.\d+\.\d+\.\d+):\d{1,5}$/,
  /^([0-9a-f:.]+)(?:%.*)?$/i
]

/**
 * Returns an address in its only spelling: IPv4 with dots, IPv6 as RFC 5952 §4 writes it, an IPv4 address that is mapped
 * into IPv6 (RFC 4291 §2.5.5.2) as IPv4. A port, brackets and a zone are dropped. Returns null for other text, such as
 * numbers with leading zeros, which some readers take for octal.
 */
export function normalizeAddress(text: string): string | null {
  if (text.length > LENGTH_MAX) return null
  const bare = text.trim()
  const address = FORMS.map((form) => form.exec(bare)?.[1]).find((found) => found !== undefined)
  if (address === undefined || !isAddress(address)) return null
  return parseAddress(address).toString()
}

// Not `ipaddr.isValid`, which also reads old forms such as 0x7f.1.
function isAddress(text: string): boolean {
  return ipaddr.IPv4.isValidFourPartDecimal(text) || ipaddr.IPv6.isValid(text)
}

// ipaddr.js takes `::10.0.0.1` for the IPv4 address. It is another address, of a deprecated kind (RFC 4291 §2.5.5.1).
function parseAddress(text: string): ipaddr.IPv4 | ipaddr.IPv6 {
  return ipaddr.process(text.replace(/^::(?=\d+\.)/, '0::'))
}

/** Returns a function that returns whether an address is in one of the networks. It returns false for other text. */
export function createNetworkList(networks: readonly string[]): (address: string) => boolean {
  const ranges = networks.map(rangeOf)
  return (text) => {
    if (ranges.length === 0 || !isAddress(text)) return false
    const address = parseAddress(text)
    return ranges.some(([network, bits]) => {
      const isSameKind = network.kind() === address.kind()
      return isSameKind && address.match(network, bits)
    })
  }
}

function rangeOf(network: string): [ipaddr.IPv4 | ipaddr.IPv6, number] {
  if (network.includes('/')) return ipaddr.parseCIDR(network)
  const address = parseAddress(network)
  return [address, address.kind() === 'ipv4' ? 32 : 128]
}

/**
 * Returns the address of the client behind a chain of proxies. `forwarded` is `X-Forwarded-For`, to which each proxy
 * appends the address that it saw. So the chain is read from its end, and only as far as trusted proxies wrote it. If a
 * trusted proxy wrote something else than an address, the client is unknown, and the proxy's own address stands in.
 */
export function clientAddress(
  peer: string,
  forwarded: string,
  isTrusted: (address: string) => boolean
): string {
  let address = normalizeAddress(peer) ?? peer
  const written = forwarded === '' ? [] : forwarded.split(',')
  while (written.length > 0 && isTrusted(address)) {
    const before = normalizeAddress(written.pop() ?? '')
    if (before === null) return address
    address = before
  }
  return address
}

/** RFC 4291 §2.5.4: one subnet has a /64, so a single address in it says nothing. */
const SUBNET_BITS = 64
/** RFC 6177 §2: a site gets up to a /48, from which it can use 65,536 subnets. */
const SITE_BITS = 48
/** How many clients may send requests from one site. A campus must not share the limit of one of its people. */
export const CLIENTS_PER_SITE = 16

/** The networks by which limits count a client. */
export interface ClientNetworks {
  /** The network that counts as one client. */
  client: string
  /** The network of all subnets that one client may own; null for IPv4. */
  site: string | null
}

/** Returns the networks of a normalized address. */
export function networksOf(address: string): ClientNetworks {
  if (!address.includes(':')) return { client: address, site: null }
  const networkOf = (bits: number) =>
    `${ipaddr.IPv6.networkAddressFromCIDR(`${address}/${bits}`)}/${bits}`
  return { client: networkOf(SUBNET_BITS), site: networkOf(SITE_BITS) }
}
