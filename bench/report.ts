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

How fast is the second step of a sign-in, which is the check of a code? With ${number(many)} users, twostep verifies **${number(rate(twostepMany))}** codes per second${IS_PINNED ? ' on one core' : ''}.
This is **${share(twostepMany, rate(floorMany))}** of the throughput of a minimal implementation of the second step.

\`npm run bench\` measured the figures on this page on ${machine()}. The figures are medians of ${rounds} interleaved rounds. Each round sends ${number(verifications)} requests to warm up and measures
the next ${number(verifications)}. ${IS_PINNED ? 'The server has one core. The load generator and the database share the other cores.' : 'Server, load and database share the cores.'}

## The second step

The *floor* is a minimal implementation of the second step ([bench/floor.ts](../bench/floor.ts)). It verifies a JWT, reads the row, decrypts the
secret, compares three codes, stores in one conditional write that the code was used, and signs an access token. In addition, twostep checks the
limits on requests and guesses, the state of the user, and the policy of the account. It also writes the audit event, its link in the hash
chain, and log lines. Each request carries a new code of another user and is sent once. The load generator uses 32 connections.

| \`POST /v1/verify\` | requests/s | CPU s per 1,000 requests | p50 ms | p99 ms | peak memory, MiB |
|---|---|---|---|---|---|
${[
  verifyRow(`floor, ${number(few)} users`, floorFew),
  verifyRow(`twostep, ${number(few)} users`, twostepFew),
  verifyRow(`floor, ${number(many)} users`, floorMany),
  verifyRow(`twostep, ${number(many)} users`, twostepMany),
  ...redisRow
].join('\n')}

- Throughput of twostep, as a share of the throughput of the floor: **${share(twostepFew, rate(floorFew))}** with ${number(few)} users, **${share(twostepMany, rate(floorMany))}** with ${number(many)} users.
- Time that twostep takes per request with ${number(many)} users, as a share of the time with ${number(few)} users: **${percent(rate(twostepFew) / rate(twostepMany))}**.
- Requests per second of the floor and of twostep in each round, with ${number(many)} users: ${floorMany.map((run, round) => `${number(perSecond(run))} and ${number(perSecond(twostepMany[round] ?? run))}`).join('; ')}.

## Other routes

| operation | requests/s | CPU s per 1,000 requests | p50 ms | p99 ms |
|---|---|---|---|---|
${[
  row('`POST /v1/login`, 16 connections', login),
  row('argon2id behind a minimal route', floorLogin),
  `| argon2id alone, without a server | ${number(median(figures.argon2))} | | | |`,
  row('`POST /v1/enroll` with the QR code', enroll),
  row('`GET /v1/users`, a page of 50 users out of 10,000', roster)
].join('\n')}

- Throughput of \`POST /v1/login\`, as a share of two other throughputs: **${share(login, rate(floorLogin))}** of argon2id behind a minimal route, **${share(login, median(figures.argon2))}** of argon2id alone on
  the same core.
- Time from the start of the process until it is ready: **${Math.round(median(figures.startMs))} ms**. Memory of an idle process: **${Math.round(median(figures.idleMiB))} MiB**.
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
