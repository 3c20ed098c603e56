// The addresses that an identity provider may have. An account's admin chooses the provider. The admin must not be able to
// make the service call hosts that only the service can reach: its neighbours, the cloud's metadata service, itself (SSRF).
import { isIP } from 'node:net'
import { createNetworkList } from '../core/input/client-addresses.ts'

/** Networks that are not globally reachable, or that lead to such networks (IANA special-purpose registries, RFC 6890). */
const NOT_PUBLIC = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.31.196.0/24',
  '192.52.193.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '192.175.48.0/24',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
  // Of IPv6, only the exceptions inside of GLOBAL_IPV6 are listed. All other IPv6 addresses are excluded in any case:
  // unique local, link-local, multicast, and IPv4 addresses that are mapped or translated.
  '2001::/23',
  '2001:db8::/32',
  '2002::/16',
  '3fff::/20'
]
/** The only part of IPv6 that IANA assigns for public use. */
const GLOBAL_IPV6 = ['2000::/3']
const LOOPBACK = ['127.0.0.0/8', '::1']

interface AddressRules {
  /** Networks that may be reached although they are not public. */
  privateNetworks: readonly string[]
  /** Whether this machine's own addresses may be reached. In development the provider runs there. */
  allowsLoopback: boolean
}

/** Creates the function that returns whether an address may be reached. It returns false for text that is no address. */
export function createAddressRule({ privateNetworks, allowsLoopback }: AddressRules) {
  const isAllowed = createNetworkList([...privateNetworks, ...(allowsLoopback ? LOOPBACK : [])])
  const isNotPublic = createNetworkList(NOT_PUBLIC)
  const isGlobalIpv6 = createNetworkList(GLOBAL_IPV6)

  return (address: string): boolean => {
    const family = isIP(address)
    if (family === 0) return false
    if (isAllowed(address)) return true
    if (family === 6 && !isGlobalIpv6(address)) return false
    return !isNotPublic(address)
  }
}
