// The addresses that an account's admin may make the service call.
import t from 'tap'
import { createAddressRule } from '../../src/sso/reachable-addresses.ts'

const PUBLIC = ['8.8.8.8', '172.15.0.1', '172.32.0.1', '100.128.0.1', '2606:4700::1111', '2a00::1']
const PRIVATE = [
  ...['0.0.0.0', '10.1.2.3', '100.64.0.1', '100.100.100.200', '127.0.0.1', '127.8.8.8'],
  ...['169.254.169.254', '172.16.0.1', '172.31.255.255', '192.168.1.1', '192.0.0.192'],
  ...['198.18.0.1', '224.0.0.1', '240.0.0.1', '255.255.255.255'],
  ...['::', '::1', 'fe80::1', 'fc00::1', 'fd00:ec2::254', 'ff02::1', '2001:db8::1', '2001::1'],
  // IPv4 inside IPv6: mapped, compatible, translated, 6to4.
  ...['::ffff:10.0.0.1', '::ffff:8.8.8.8', '::127.0.0.1', '64:ff9b::a00:1', '2002:a00:1::1']
]
const NO_ADDRESS = ['', 'localhost', '10.0.0', '0x7f000001', '2130706433', '[::1]', '8.8.8.8 ']

t.test('in production, public addresses and the configured networks may be reached', async (t) => {
  const mayReach = createAddressRule({ privateNetworks: [], allowsLoopback: false })
  for (const address of PUBLIC) t.equal(mayReach(address), true, address)
  for (const address of [...PRIVATE, ...NO_ADDRESS]) t.equal(mayReach(address), false, address)

  const privateNetworks = ['10.0.0.0/8', '192.168.1.1', 'fd00::/8']
  const configured = createAddressRule({ privateNetworks, allowsLoopback: false })
  for (const address of ['10.1.2.3', '192.168.1.1', 'fd00:ec2::254', ...PUBLIC]) {
    t.equal(configured(address), true, address)
  }
  for (const address of ['127.0.0.1', '192.168.1.2', '169.254.169.254', 'fc00::1']) {
    t.equal(configured(address), false, address)
  }
})

t.test('in development, this machine may be reached too', async (t) => {
  const mayReach = createAddressRule({ privateNetworks: [], allowsLoopback: true })
  for (const address of ['127.0.0.1', '127.8.8.8', '::1', ...PUBLIC]) {
    t.equal(mayReach(address), true, address)
  }
  for (const address of [
    '10.1.2.3',
    '169.254.169.254',
    'fe80::1',
    '0.0.0.0',
    '::',
    '::127.0.0.1'
  ]) {
    t.equal(mayReach(address), false, address)
  }
})
