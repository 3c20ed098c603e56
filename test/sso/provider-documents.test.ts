// The documents of identity providers are read only from addresses that were checked.
import t from 'tap'
import { createProviderDocuments } from '../../src/sso/provider-documents.ts'
import { openHttpServer, sendJson } from '../support/identity-provider.ts'

const server = await openHttpServer(t, (_request, response) => sendJson(response, { found: true }))
const byName = server.url.replace('127.0.0.1', 'localhost')
const never = AbortSignal.timeout(60_000)

t.test('the reader connects to a name at an address that was checked', async (t) => {
  const checked: string[] = []
  const mayReach = (address: string) => checked.push(address) > 0
  const read = createProviderDocuments({ mayReach, allowsHttp: true })
  t.same(await read(byName, never), { found: true })
  t.ok(checked.includes('127.0.0.1'))
  const asked = server.asked.length
  const refusing = createProviderDocuments({ mayReach: () => false, allowsHttp: true })
  for (const address of [byName, server.url, `${byName.replace('localhost', '[::1]')}`]) {
    await t.rejects(refusing(address, never), /outside the public network/, address)
  }
  t.equal(server.asked.length, asked)
})

t.test('a name is rejected if one of its addresses must not be reached', async (t) => {
  const read = createProviderDocuments({
    mayReach: (address) => address !== '::1',
    allowsHttp: true
  })
  const { lookup } = await import('node:dns/promises')
  const addresses = await lookup('localhost', { all: true })
  const isMixed = addresses.some(({ address }) => address === '::1')
  if (isMixed) await t.rejects(read(byName, never), /outside the public network/)
  else t.same(await read(byName, never), { found: true })
})

t.test('only https is allowed by default, and no user in an address', async (t) => {
  const mayReach = () => true
  const strict = createProviderDocuments({ mayReach, allowsHttp: false })
  await t.rejects(strict(server.url, never), /http: is not allowed/)
  const lax = createProviderDocuments({ mayReach, allowsHttp: true })
  for (const address of ['file:///etc/passwd', 'ftp://localhost/', 'data:application/json,{}']) {
    await t.rejects(lax(address, never), /is not allowed/, address)
  }
  await t.rejects(lax(server.url.replace('//', '//ada:secret@'), never), /must not contain a user/)
})

t.test('a document of 64 KiB is read, and one byte more is rejected', async (t) => {
  let length = 64 * 1024
  const large = await openHttpServer(t, (_request, response) => {
    response.setHeader('content-type', 'application/jwk-set+json; charset=utf-8')
    response.end(JSON.stringify('x'.repeat(length - 2)))
  })
  const read = createProviderDocuments({ mayReach: () => true, allowsHttp: true })
  t.equal(String(await read(large.url, never)).length, length - 2)
  length += 1
  await t.rejects(read(large.url, never), /more than 65536 bytes/)
})

t.test('a document is read whatever its media type is, also with a byte order mark', async (t) => {
  const read = createProviderDocuments({ mayReach: () => true, allowsHttp: true })
  for (const mediaType of ['text/plain', 'application/octet-stream', 'text/html', '']) {
    const plain = await openHttpServer(t, (_request, response) => {
      if (mediaType) response.setHeader('content-type', mediaType)
      response.end('\uFEFF{"found":true}')
    })
    t.same(await read(plain.url, never), { found: true }, mediaType)
  }
  const page = await openHttpServer(t, (_request, response) => response.end('<html>'))
  await t.rejects(read(page.url, never), SyntaxError)
})
