// Writes the figures of the benchmark as a page.
import { cpus, release, totalmem } from 'node:os'
import type { Measurement } from './load.ts'
import { IS_PINNED } from './servers.ts'

type VerifyMeasurement = Measurement & { peakMiB: number }

/** One entry per round. */
export interface Figures {
  floorFew: VerifyMeasurement[]
  twostepFew: VerifyMeasurement[]
  floorMany: VerifyMeasurement[]
  twostepMany: VerifyMeasurement[]
  /** Empty if there was no Redis. */
  twostepRedis: VerifyMeasurement[]
  login: Measurement[]
  floorLogin: Measurement[]
  /** Passwords per second. */
  argon2: number[]
  enroll: Measurement[]
  roster: Measurement[]
  startMs: number[]
  idleMiB: number[]
}

interface Size {
  rounds: number
  verifications: number
  few: number
  many: number
}

/** Returns the date and the relevant facts about the machine. */
export function machine(): string {
  const [cpu] = cpus()
  const day = new Date().toISOString().slice(0, 10)
  const hardware = `${cpus().length} cores of ${cpu?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB`
  return `${day}: ${hardware}, Linux ${release()}, Node ${process.versions.node},\nPostgreSQL on the same machine`
}

export function report(figures: Figures, { rounds, verifications, few, many }: Size): string {
  const {
    floorFew,
    twostepFew,
    floorMany,
    twostepMany,
    twostepRedis,
    login,
    floorLogin,
    enroll,
    roster
  } = figures
  const rate = (runs: Measurement[]) => median(runs.map(perSecond))
  const share = (runs: Measurement[], base: number) => percent(rate(runs) / base)
  const redisRow =
    twostepRedis.length > 0
      ? [verifyRow(`twostep with Redis, ${number(many)} users`, twostepRedis)]
      : []
  return `# Benchmark

How fast is twostep, compared with a minimal implementation? With ${number(many)} users it verifies **${number(rate(twostepMany))}** codes per second${IS_PINNED ? ' on one core' : ''}, which is
**${share(twostepMany, rate(floorMany))}** of the throughput of a minimal implementation.

\`npm run bench\` measured this on ${machine()}. The figures are medians of ${rounds} interleaved rounds. Each round sends ${number(verifications)} requests to warm up and measures
the next ${number(verifications)}. ${IS_PINNED ? 'The server has one core, and load and database have the others.' : 'Server, load and database share the cores.'}

## The second step

The *floor* is a minimal implementation of the second step ([bench/floor.ts](../bench/floor.ts)). It verifies a JWT, reads the row, decrypts the
secret, compares three codes, claims the time step in one conditional write and signs an access token. twostep does the whole work of the product
in addition: limits, attempts, epochs, policy, the audit event and its link in the hash chain, logs. Each request verifies a fresh code of a
different user and is sent once, over 32 connections.

| \`POST /v1/verify\` | requests/s | CPU s per 1,000 | p50 ms | p99 ms | peak MiB |
|---|---|---|---|---|---|
${[
  verifyRow(`floor, ${number(few)} users`, floorFew),
  verifyRow(`twostep, ${number(few)} users`, twostepFew),
  verifyRow(`floor, ${number(many)} users`, floorMany),
  verifyRow(`twostep, ${number(many)} users`, twostepMany),
  ...redisRow
].join('\n')}

- Throughput, compared with the floor: **${share(twostepFew, rate(floorFew))}** with ${number(few)} users, **${share(twostepMany, rate(floorMany))}** with ${number(many)}.
- Time per request with ${number(many)} users, compared with ${number(few)} users: **${percent(rate(twostepFew) / rate(twostepMany))}**.
- Requests per second in each round, floor and twostep, ${number(many)} users: ${floorMany.map((run, round) => `${number(perSecond(run))} and ${number(perSecond(twostepMany[round] ?? run))}`).join('; ')}.

## Other routes

| operation | requests/s | CPU s per 1,000 | p50 ms | p99 ms |
|---|---|---|---|---|
${[
  row('`POST /v1/login`, 16 connections', login),
  row('argon2id behind a minimal route', floorLogin),
  `| argon2id alone, without a server | ${number(median(figures.argon2))} | | | |`,
  row('`POST /v1/enroll` with the QR code', enroll),
  row('`GET /v1/users`, 50 of 10,000', roster)
].join('\n')}

- Logins per second, compared with argon2id behind a minimal route: **${share(login, rate(floorLogin))}**; compared with argon2id alone on the same core:
  **${share(login, median(figures.argon2))}**.
- Time from the start of the process until it is ready: **${Math.round(median(figures.startMs))} ms**. Memory when idle: **${Math.round(median(figures.idleMiB))} MiB**.
`
}

function verifyRow(name: string, runs: VerifyMeasurement[]): string {
  return `${row(name, runs)} ${Math.round(median(runs.map(({ peakMiB }) => peakMiB)))} |`
}

function row(name: string, runs: Measurement[]): string {
  const middle = (read: (run: Measurement) => number) => median(runs.map(read))
  const rate = middle(perSecond)
  const cells = [
    rate < 100 ? rate.toFixed(1) : number(rate),
    middle(({ cpuSeconds, count }) => (cpuSeconds / count) * 1000).toFixed(2),
    middle((run) => quantile(run, 0.5)).toFixed(1),
    middle((run) => quantile(run, 0.99)).toFixed(1)
  ]
  return `| ${name} | ${cells.join(' | ')} |`
}

function perSecond({ count, seconds }: Measurement): number {
  return count / seconds
}

function quantile({ latenciesMs }: Measurement, share: number): number {
  return latenciesMs[Math.floor(latenciesMs.length * share)] ?? Number.NaN
}

function median(values: number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? Number.NaN
}

function percent(ratio: number): string {
  return `${Math.round(ratio * 100)} %`
}

function number(value: number): string {
  return Math.round(value).toLocaleString('en-US')
}
