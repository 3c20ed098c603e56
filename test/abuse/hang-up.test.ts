// S24, S28: the request of a caller who hangs up before the response is audited like every other request. If the service
// can no longer read the caller's address, it does nothing.
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { PASSWORD, startApp } from '../support/app.ts'
import { actsOn } from '../support/records.ts'

const service = await startApp(t, { listen: true })
const { app, createApiKey, createUser, database, logged, login } = service
// As in many production environments. At a lower level, the log line of an incoming request also reads the address.
app.log.level = 'warn'

const user = await createUser()
const reset = `/v1/users/${user.id}/reset`

t.test('a refusal is audited even if the caller hung up before the response', async (t) => {
  const as = await createApiKey(user.account, 'audit:read')
  await database.prisma.$transaction(async (transaction) => {
    await transaction.$executeRaw`LOCK TABLE "ApiKey"`
    const arrived = once(app.server, 'request')
    const socket = await send(reset, {}, as)
    const [request] = (await arrived) as [IncomingMessage]
    // Not `once`, which rejects because of the reset.
    const isGone = new Promise((resolve) => request.socket.on('close', resolve))
    socket.resetAndDestroy()
    await isGone
  })
  const refusal = 'user.reset refused: insufficient-scope'
  for (let tries = 0; tries < 100 && (await acts()).length === 0; tries += 1) await sleep(20)
  t.same(await acts(), [refusal])
  t.same(logged.filter(isFault), [])
})

t.test('the service logs no error for a caller who hangs up immediately', async (t) => {
  const { account, email } = user
  const body = { account: account.slug, email, password: PASSWORD }
  for (const [path, as] of [['/v1/login'], [reset, account.apiKey], [reset]] as const) {
    const arrived = once(app.server, 'request')
    const socket = await send(path, path === reset ? {} : body, as)
    socket.resetAndDestroy()
    await arrived
  }
  // This sign-in follows them on the same database connections. When it succeeds, they are finished.
  await login(user)
  t.same(logged.filter(isFault), [])
})

function acts(): Promise<string[]> {
  return actsOn(service, user.id, 'user.reset')
}

const isFault = (line: string) => JSON.parse(line).level >= 50

/** Sends a request. Resolves when all of it has been written to the socket. */
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
