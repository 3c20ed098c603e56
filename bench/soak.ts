// Half an hour under half of what the service can do: npm run soak -- <verifications a second> [<minutes>]
//
// Each request is another person's fresh code, sent when its time has come, whether the others have their answer or not.
// Wants what npm run bench wants, and autovacuum on. Writes docs/soak.md.
import { createHmac } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { Pool } from 'undici'
import { startOurs } from './deployments.ts'
import { dropDatabase, makeDatabase } from './fill.ts'
import { stepTokenOf } from './keys.ts'
import { codeOf, personAt } from './people.ts'
import { machine } from './report.ts'
import { pinThisProcess } from './servers.ts'

/** Enough that nobody has a second turn within a time step. */
const PEOPLE = 200_000
const CONNECTIONS = 64
const TICK_MS = 5
const SERVER_URL =
  process.env['BENCH_DATABASE_URL'] ?? 'postgresql://postgres@127.0.0.1:5432/postgres'

interface Minute {
  sent: number
  failed: number
  p50: number
  p99: number
  max: number
  rssMiB: number
  cpuSeconds: number
  /** Of the same work every time, done when the minute was over: the speed of a machine drifts. */
  yardstickMs: number
}

const [rate = 0, minutes = 30] = process.argv.slice(2).map(Number)
if (!Number.isInteger(rate) || rate < 1) throw new Error('how many verifications a second?')
pinThisProcess()
const url = await makeDatabase(SERVER_URL, 'twostep_soak', {
  people: PEOPLE,
  newcomers: 0,
  passwordHash: 'nobody signs in with a password here'
})
const server = await startOurs(url)
const pool = new Pool(server.url, { connections: CONNECTIONS, pipelining: 1 })
try {
  const soaked: Minute[] = []
  for (let minute = 0; minute < minutes; minute += 1) {
    soaked.push(await oneMinute(minute * rate * 60))
    console.error(JSON.stringify(soaked.at(-1)))
  }
  const text = page(soaked)
  await writeFile('docs/soak.md', text)
  console.log(text)
} finally {
  await pool.close()
  await server.stop()
  await dropDatabase(SERVER_URL, 'twostep_soak')
}

async function oneMinute(first: number): Promise<Minute> {
  const latencies: number[] = []
  const under: Promise<void>[] = []
  let failed = 0
  const cpuBefore = server.cpuSeconds()
  const startedAt = performance.now()
  for (let sent = 0; sent < rate * 60; ) {
    const due = Math.min(rate * 60, ((performance.now() - startedAt) / 1000) * rate)
    while (sent < due) {
      const shot = verify(first + sent, startedAt + (sent / rate) * 1000).catch((error) => {
        failed += 1
        if (failed === 1) console.error(error)
      })
      under.push(shot)
      sent += 1
    }
    await sleep(TICK_MS)
  }
  await Promise.all(under)
  const sorted = latencies.sort((one, other) => one - other)
  const quantile = (share: number) => sorted[Math.floor(sorted.length * share)] ?? Number.NaN
  return {
    ...{ sent: under.length, failed, p50: quantile(0.5), p99: quantile(0.99) },
    ...{ max: sorted.at(-1) ?? Number.NaN, rssMiB: server.memory().nowMiB },
    cpuSeconds: server.cpuSeconds() - cpuBefore,
    yardstickMs: yardstickMs()
  }

  async function verify(index: number, dueAt: number): Promise<void> {
    const person = personAt(index % PEOPLE)
    const { statusCode, body } = await pool.request({
      method: 'POST',
      path: '/v1/verify',
      headers: {
        authorization: `Bearer ${stepTokenOf(person, 'verify')}`,
        'content-type': 'application/json'
      },
      body: JSON.stringify({ code: codeOf(person) })
    })
    const text = await body.text()
    latencies.push(performance.now() - dueAt)
    if (statusCode !== 200) throw new Error(`${statusCode} ${text}`)
  }
}

/** The fastest of five: what else runs here can only make it slower. */
function yardstickMs(): number {
  const text = JSON.stringify(Array.from({ length: 200 }, (_, index) => personAt(index)))
  const times = [1, 2, 3, 4, 5].map(() => {
    const startedAt = performance.now()
    for (let round = 0; round < 50; round += 1) {
      createHmac('sha256', 'yardstick')
        .update(JSON.stringify(JSON.parse(text)))
        .digest()
    }
    return performance.now() - startedAt
  })
  return Math.min(...times)
}

function page(soaked: Minute[]): string {
  const rows = soaked.map((minute, index) => {
    const { sent, failed, p50, p99, max, rssMiB, cpuSeconds, yardstickMs } = minute
    const times = [p50, p99, max].map((ms) => ms.toFixed(1)).join(' | ')
    return `| ${index + 1} | ${sent.toLocaleString('en-US')} | ${failed} | ${times} | ${Math.round(rssMiB)} | ${((cpuSeconds / sent) * 1000).toFixed(2)} | ${yardstickMs.toFixed(1)} |`
  })
  return `# Soak

Made by \`npm run soak -- ${rate} ${minutes}\` on ${machine()}.
${rate.toLocaleString('en-US')} verifications a second, each another person's of ${PEOPLE.toLocaleString('en-US')}, sent when its time had come, whether the others had their answer or not.
The yardstick is what the machine takes for the same piece of work after each minute.

| minute | requests | failed | p50 ms | p99 ms | longest ms | memory MiB | CPU s per 1,000 | yardstick ms |
|---|---|---|---|---|---|---|---|---|
${rows.join('\n')}
`
}
