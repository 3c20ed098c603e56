// Measures the service under constant load for half an hour: npm run soak -- <verifications per second> [<minutes>]
//
// Each request verifies a fresh code of a different user. It is sent at its scheduled time, even if earlier responses are
// missing. Needs the same as npm run bench, and autovacuum switched on. Writes docs/soak.md.
import { createHmac } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { Pool } from 'undici'
import { startTwostep } from './deployments.ts'
import { createDatabase, dropDatabase, SERVER_URL } from './fill.ts'
import { signStepToken } from './keys.ts'
import { machine } from './report.ts'
import { pinThisProcess } from './servers.ts'
import { currentCode, userAt } from './users.ts'

/** Enough that no user verifies twice within a time step. */
const USERS = 200_000
const CONNECTIONS = 64
const TICK_MS = 5

interface Minute {
  sent: number
  failed: number
  p50: number
  p99: number
  max: number
  rssMiB: number
  cpuSeconds: number
  /** Time for a fixed piece of work after the minute, because the speed of a machine drifts. */
  yardstickMs: number
}

const [rate = 0, minutes = 30] = process.argv.slice(2).map(Number)
if (!Number.isInteger(rate) || rate < 1)
  throw new Error('give the number of verifications per second')
pinThisProcess()
const url = await createDatabase(SERVER_URL, 'twostep_soak', {
  enrolled: USERS,
  notEnrolled: 0,
  passwordHash: 'not used: no user signs in with a password'
})
const server = await startTwostep(url)
const pool = new Pool(server.url, { connections: CONNECTIONS, pipelining: 1 })
try {
  const results: Minute[] = []
  for (let minute = 0; minute < minutes; minute += 1) {
    results.push(await runMinute(minute * rate * 60))
    console.error(JSON.stringify(results.at(-1)))
  }
  const text = report(results)
  await writeFile('docs/soak.md', text)
  console.log(text)
} finally {
  await pool.close()
  await server.stop()
  await dropDatabase(SERVER_URL, 'twostep_soak')
}

async function runMinute(first: number): Promise<Minute> {
  const latencies: number[] = []
  const requests: Promise<void>[] = []
  let failed = 0
  const cpuBefore = server.cpuSeconds()
  const startedAt = performance.now()
  for (let sent = 0; sent < rate * 60; ) {
    const due = Math.min(rate * 60, ((performance.now() - startedAt) / 1000) * rate)
    while (sent < due) {
      const request = verify(first + sent, startedAt + (sent / rate) * 1000).catch((error) => {
        failed += 1
        if (failed === 1) console.error(error)
      })
      requests.push(request)
      sent += 1
    }
    await sleep(TICK_MS)
  }
  await Promise.all(requests)
  const sorted = latencies.sort((one, other) => one - other)
  const quantile = (share: number) => sorted[Math.floor(sorted.length * share)] ?? Number.NaN
  return {
    sent: requests.length,
    failed,
    p50: quantile(0.5),
    p99: quantile(0.99),
    max: sorted.at(-1) ?? Number.NaN,
    rssMiB: server.memory().nowMiB,
    cpuSeconds: server.cpuSeconds() - cpuBefore,
    yardstickMs: yardstickMs()
  }

  async function verify(index: number, dueAt: number): Promise<void> {
    const user = userAt(index % USERS)
    const { statusCode, body } = await pool.request({
      method: 'POST',
      path: '/v1/verify',
      headers: {
        authorization: `Bearer ${signStepToken(user, 'verify')}`,
        'content-type': 'application/json'
      },
      body: JSON.stringify({ code: currentCode(user) })
    })
    const text = await body.text()
    latencies.push(performance.now() - dueAt)
    if (statusCode !== 200) throw new Error(`${statusCode} ${text}`)
  }
}

/** Returns the fastest of five runs, because other load on the machine can only make a run slower. */
function yardstickMs(): number {
  const text = JSON.stringify(Array.from({ length: 200 }, (_, index) => userAt(index)))
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

function report(results: Minute[]): string {
  const rows = results.map((minute, index) => {
    const { sent, failed, p50, p99, max, rssMiB, cpuSeconds, yardstickMs } = minute
    const times = [p50, p99, max].map((ms) => ms.toFixed(1)).join(' | ')
    return `| ${index + 1} | ${sent.toLocaleString('en-US')} | ${failed} | ${times} | ${Math.round(rssMiB)} | ${((cpuSeconds / sent) * 1000).toFixed(2)} | ${yardstickMs.toFixed(1)} |`
  })
  return `# Soak

Does twostep stay fast under constant load? The table shows ${minutes} minutes with ${rate.toLocaleString('en-US')} requests per second. Each request is the second step of a
sign-in: it verifies a code.

\`npm run soak -- ${rate} ${minutes}\` measured the table on ${machine()}.
The requests go through ${USERS.toLocaleString('en-US')} users in turn. Each request is sent at its scheduled time, even if earlier responses are missing.
The *yardstick* is the time that the machine takes for a fixed piece of work after each minute. It shows how fast the machine is.

| minute | requests | failed | p50 ms | p99 ms | longest ms | memory MiB | CPU s per 1,000 requests | yardstick ms |
|---|---|---|---|---|---|---|---|---|
${rows.join('\n')}
`
}
