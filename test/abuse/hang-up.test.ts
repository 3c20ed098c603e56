// S24, S28: whoever hangs up before the answer has still asked, and is on record as everyone else is; where not even
// their address can be known any more, nothing happens at all.
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { PASSWORD, startApp } from '../support/app.ts'
import { actsOn } from '../support/records.ts'

const service = await startApp(t, { listen: true })
const { app, createApiKey, createUser, database, logged, login } = service
// As in many a production: the line that is logged as a request comes in asks for the address, too.
app.log.level = 'warn'

const user = await createUser()
const reset = `/v1/users/${user.id}/reset`

t.test('a refusal of whoever hung up meanwhile is on record', async (t) => {
  const as = await createApiKey(user.account, 'audit:read')
  await database.prisma.$transaction(async (transaction) => {
    await transaction.$executeRaw`LOCK TABLE "ApiKey"`
    const arrived = once(app.server, 'request')
    const socket = await send(reset, {}, as)
    const [request] = (await arrived) as [IncomingMessage]
    // Not `once`, to which the reset is an error.
    const isGone = new Promise((resolve) => request.socket.on('close', resolve))
    socket.resetAndDestroy()
    await isGone
  })
  const refusal = 'user.reset refused: insufficient-scope'
  for (let tries = 0; tries < 100 && (await acts()).length === 0; tries += 1) await sleep(20)
  t.same(await acts(), [refusal])
  t.same(logged.filter(isFault), [])
})

t.test('nothing fails for whoever hung up at once', async (t) => {
  const { account, email } = user
  const body = { account: account.slug, email, password: PASSWORD }
  for (const [path, as] of [['/v1/login'], [reset, account.apiKey], [reset]] as const) {
    const arrived = once(app.server, 'request')
    const socket = await send(path, path === reset ? {} : body, as)
    socket.resetAndDestroy()
    await arrived
  }
  // One after them, on the same connections to the database, so that they are through.
  await login(user)
  t.same(logged.filter(isFault), [])
})

function acts(): Promise<string[]> {
  return actsOn(service, user.id, 'user.reset')
}

const isFault = (line: string) => JSON.parse(line).level >= 50

/** Resolves when the request is on the wire. */
async function send(path: string, body: object, as?: string): Promise<Socket> {
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
  socket.on('error', () => {})
  await once(socket, 'connect')
  const content = JSON.stringify(body)
  const lines = [
    `POST ${path} HTTP/1.1`,
    'Host: twostep.test',
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(content)}`,
    ...(as === undefined ? [] : [`Authorization: Bearer ${as}`])
  ]
  await new Promise((resolve) => socket.write(`${lines.join('\r\n')}\r\n\r\n${content}`, resolve))
  return socket
}
