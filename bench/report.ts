// The figures as a page.
import { cpus, release, totalmem } from 'node:os'
import type { Measured } from './load.ts'
import { IS_PINNED } from './servers.ts'

type Verified = Measured & { peakMiB: number }

/** One entry a round. */
export interface Figures {
  floorFew: Verified[]
  oursFew: Verified[]
  floorMany: Verified[]
  oursMany: Verified[]
  /** Empty where there was no Redis. */
  oursRedis: Verified[]
  login: Measured[]
  floorLogin: Measured[]
  /** Passwords a second. */
  argon2: number[]
  enroll: Measured[]
  roster: Measured[]
  startMs: number[]
  idleMiB: number[]
}

interface Size {
  rounds: number
  verifications: number
  few: number
  many: number
}

/** The day, and what of the machine matters to what is measured on it. */
export function machine(): string {
  const [cpu] = cpus()
  const day = new Date().toISOString().slice(0, 10)
  const hardware = `${cpus().length} cores of ${cpu?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB`
  return `${day}: ${hardware}, Linux ${release()}, Node ${process.versions.node},\nPostgreSQL on the same machine`
}

export function report(figures: Figures, { rounds, verifications, few, many }: Size): string {
  const { floorFew, oursFew, floorMany, oursMany, oursRedis, login, floorLogin, enroll, roster } =
    figures
  const rate = (runs: Measured[]) => median(runs.map(perSecond))
  const ratio = (ours: Measured[], base: Measured[]) => (rate(ours) / rate(base)).toFixed(2)
  const loginRatio = rate(login) / median(figures.argon2)
  const redisRow =
    oursRedis.length > 0 ? [verifyRow(`ours with Redis, ${number(many)} users`, oursRedis)] : []
  return `# Benchmark

Made by \`npm run bench\` on ${machine()}. ${rounds} interleaved rounds, medians; ${number(verifications)} requests to warm up and as many that count. ${IS_PINNED ? 'The server has one core, load and database the others.' : 'Server, load and database share the cores.'}

## The second step, against the floor

The *floor* is the least that a second step can do ([bench/floor.ts](../bench/floor.ts)): verify a JWT, read the row, open the secret, compare three
codes, claim the time step in one conditional write, sign an access token. Ours does all that the product does: limits, attempts, epochs, policy, the
audit event and its seal, logs. Each request is another person's fresh code, fired once, over 32 connections.

| \`POST /v1/verify\` | requests/s | CPU s per 1,000 | p50 ms | p99 ms | peak MiB |
|---|---|---|---|---|---|
${[
  verifyRow(`floor, ${number(few)} users`, floorFew),
  verifyRow(`ours, ${number(few)} users`, oursFew),
  verifyRow(`floor, ${number(many)} users`, floorMany),
  verifyRow(`ours, ${number(many)} users`, oursMany),
  ...redisRow
].join('\n')}

- Requests a second of the floor: **${ratio(oursFew, floorFew)}** with ${number(few)} users, **${ratio(oursMany, floorMany)}** with ${number(many)}.
- With ${number(many)} users it takes **${(rate(oursFew) / rate(oursMany)).toFixed(2)}** times as long as with ${number(few)}.
- Per round: ${floorMany.map((run, round) => `${number(perSecond(run))} and ${number(perSecond(oursMany[round] ?? run))}`).join('; ')} (floor and ours, ${number(many)} users).

## The rest

| what | requests/s | CPU s per 1,000 | p50 ms | p99 ms |
|---|---|---|---|---|
${[
  row('`POST /v1/login`, 16 connections', login),
  row('argon2id behind a route, nothing else', floorLogin),
  `| argon2id alone, without a server | ${number(median(figures.argon2))} | | | |`,
  row('`POST /v1/enroll` with the QR code', enroll),
  row('`GET /v1/users`, 50 of 10,000', roster)
].join('\n')}

- Logins a second of argon2id behind a bare route: **${ratio(login, floorLogin)}**; of argon2id alone, on the same core: **${loginRatio.toFixed(2)}**.
- From the start of the process until it is ready: **${Math.round(median(figures.startMs))} ms**. Memory when idle: **${Math.round(median(figures.idleMiB))} MiB**.
`
}

function verifyRow(name: string, runs: Verified[]): string {
  return `${row(name, runs)} ${Math.round(median(runs.map(({ peakMiB }) => peakMiB)))} |`
}

function row(name: string, runs: Measured[]): string {
  const middle = (read: (run: Measured) => number) => median(runs.map(read))
  const rate = middle(perSecond)
  const cells = [
    rate < 100 ? rate.toFixed(1) : number(rate),
    middle(({ cpuSeconds, count }) => (cpuSeconds / count) * 1000).toFixed(2),
    middle((run) => quantile(run, 0.5)).toFixed(1),
    middle((run) => quantile(run, 0.99)).toFixed(1)
  ]
  return `| ${name} | ${cells.join(' | ')} |`
}

function perSecond({ count, seconds }: Measured): number {
  return count / seconds
}

function quantile({ latenciesMs }: Measured, share: number): number {
  return latenciesMs[Math.floor(latenciesMs.length * share)] ?? Number.NaN
}

function median(values: number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? Number.NaN
}

function number(value: number): string {
  return Math.round(value).toLocaleString('en-US')
}
