// S24: a proxy in front of the replicas passes on no error while they are restarted one after the other.
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { ON_SERVER, verbsOver } from '../support/app.ts'
import { withBinaries } from '../support/binaries.ts'
import { createTestDatabase } from '../support/database.ts'
import { freePort } from '../support/processes.ts'
import { type ProxyName, startProxy } from '../support/proxies.ts'
import { startServer } from '../support/server.ts'

const CLIENTS = 16
const ROUNDS = process.env['TEST_ROUNDS'] === 'all' ? 3 : 1

for (const proxy of ['nginx', 'haproxy'] satisfies ProxyName[]) {
  const options = ON_SERVER.skip ? ON_SERVER : withBinaries(proxy)
  t.test(`no request fails behind ${proxy} while the replicas restart`, options, async (t) => {
    const env = { DATABASE_URL: await createTestDatabase(t), SHUTDOWN_DELAY_SECONDS: '1' }
    const ports = [await freePort(), await freePort()]
    const start = (port: number) => startServer(t, { ...env, PORT: String(port) })
    const replicas = await Promise.all(ports.map(start))
    const url = await startProxy(t, proxy, ports)
    const { call, homeAccount } = verbsOver(url)
    const { apiKey: as } = await homeAccount()

    const failures: unknown[] = []
    let sent = 0
    let isOver = false
    const clients = Array.from({ length: CLIENTS }, async (_, client) => {
      for (let made = 0; !isOver; made += 1) {
        // A proxy sends a POST only once. A connection that is closed too early is therefore a failure.
        const body = { email: `user${client}-${made}@example.com` }
        const answer = await call('POST', '/v1/users', { as, body }).catch((error) => error)
        sent += 1
        if (answer.statusCode !== 201) failures.push(answer.statusCode ?? answer, answer.body)
        // The number of requests at the same time must change, so that the proxy has idle connections.
        if (made % 16 === 0) await sleep(client * 10)
      }
    })
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const [index, port] of ports.entries()) {
        await sleep(500)
        t.equal(await replicas[index]?.stop(), 0, 'the exit code is 0')
        replicas[index] = await start(port)
      }
    }
    await sleep(500)
    isOver = true
    await Promise.all(clients)
    t.same(failures, [])
    t.comment(`${sent} requests`)
  })
}
