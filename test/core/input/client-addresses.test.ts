// One spelling of every address, and the networks by which limits count.
import fc from 'fast-check'
import t from 'tap'
import {
  CLIENTS_PER_SITE,
  clientAddress,
  createNetworkList,
  networksOf,
  normalizeAddress
} from '../../../src/core/input/client-addresses.ts'

t.test('every form of an address has one spelling', async (t) => {
  for (const [normal, ...forms] of [
    ['192.0.2.7', ' 192.0.2.7 ', '192.0.2.7:4711', '::ffff:192.0.2.7', '::FFFF:c000:207'],
    ['192.0.2.7', '[::ffff:192.0.2.7]', '[::ffff:192.0.2.7]:4711', '0:0:0:0:0:ffff:192.0.2.7'],
    ['2001:db8::1', '2001:DB8::1', '[2001:db8::1]', '[2001:db8::1]:4711', '2001:0db8:0:0::0001'],
    ['fe80::1', 'fe80::1%eth0', '[fe80::1%25eth0]', '[fe80::1%eth0]:4711'],
    ['::1', '0:0:0:0:0:0:0:1', '[::1]:1'],
    // Not an IPv4 address that is mapped into IPv6.
    ['::a00:1', '::10.0.0.1', '0::10.0.0.1', '[::10.0.0.1]:4711']
  ] as const) {
    for (const form of [normal, ...forms]) t.equal(normalizeAddress(form), normal, form)
  }
})

t.test('null: text that is no address', async (t) => {
  for (const text of [
    ...['', ' ', 'unknown', '_hidden', 'localhost', 'example.com', 'a'.repeat(8000)],
    ...[
      '192.0.2',
      '192.0.2.007',
      '0300.0.2.7',
      '0x7f.1',
      '3221225991',
      '192.0.2.256',
      '192.0.2.7:'
    ],
    ...['192.0.2.7:port', '192.0.2.7:123456', '192.0.2.7/24', '192.0.2.7 192.0.2.8', '１92.0.2.7'],
    ...['[2001:db8::1', '2001:db8::1]', '[2001:db8::1]:', '2001:db8::1::', ':', '%eth0'],
    ...['::ffff:999.1.1.1', '[::1]%eth0', '"192.0.2.7"', 'for=192.0.2.7']
  ]) {
    t.equal(normalizeAddress(text), null, text.slice(0, 40))
  }
})

t.test('property: a normal address stays as it is, with and without a port', async () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), fc.nat(65_535), (address, port) => {
      const normal = normalizeAddress(address)
      const bracketed = address.includes(':') ? `[${address}]` : address
      return (
        normal !== null &&
        normalizeAddress(normal) === normal &&
        normalizeAddress(`${bracketed}:${port}`) === normal
      )
    })
  )
  fc.assert(
    fc.property(fc.string(), (text) =>
      [null, 'string'].includes(normalizeAddress(text) && 'string')
    )
  )
})

t.test('S21: the client is the last address that a trusted proxy has written', async (t) => {
  const isTrusted = createNetworkList(['10.0.0.0/8', '::ffff:192.0.2.1', '2001:db8:f::/48'])
  for (const [peer, forwarded, client] of [
    ['203.0.113.9', '198.51.100.1', '203.0.113.9'],
    ['10.0.0.1', '', '10.0.0.1'],
    ['10.0.0.1', '198.51.100.1', '198.51.100.1'],
    ['::ffff:10.0.0.1', '198.51.100.1:4711', '198.51.100.1'],
    ['192.0.2.1', '[2001:DB8::1]:4711', '2001:db8::1'],
    ['10.0.0.1', '198.51.100.1, 198.51.100.2', '198.51.100.2'],
    ['10.0.0.1', '198.51.100.1,10.0.0.2:443 , [2001:db8:f::7]:443', '198.51.100.1'],
    ['10.0.0.1', '10.0.0.3, 10.0.0.2', '10.0.0.3']
  ] as const) {
    t.equal(clientAddress(peer, forwarded, isTrusted), client, `${peer} ${forwarded}`)
  }
})

t.test('the proxy stands in for a client that is not written as an address', async (t) => {
  const isTrusted = createNetworkList(['10.0.0.0/8'])
  for (const forwarded of ['unknown', '198.51.100.1, ', '198.51.100.1, x', 'a'.repeat(8000), ',']) {
    t.equal(clientAddress('10.0.0.1', forwarded, isTrusted), '10.0.0.1', forwarded.slice(0, 40))
  }
  t.equal(clientAddress('10.0.0.1', 'x, 10.0.0.2', isTrusted), '10.0.0.2')
})

t.test(
  'limits count an IPv4 address alone, and an IPv6 address by its /64 and its /48',
  async (t) => {
    t.same(networksOf('192.0.2.7'), { client: '192.0.2.7', site: null })
    t.same(networksOf('2001:db8:1:2:3:4:5:6'), {
      client: '2001:db8:1:2::/64',
      site: '2001:db8:1::/48'
    })
    t.ok(CLIENTS_PER_SITE > 1)
  }
)
