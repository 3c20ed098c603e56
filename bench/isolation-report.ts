// Writes the figures of the isolation benchmark as a page.
import { machine } from './report.ts'

export interface Phase {
  name: string
  /** By kind of request. */
  latenciesMs: Record<'code' | 'page' | 'password', number[]>
  /** How many responses had each status. */
  statuses: Record<string, number>
  longestBlockMs: number
  /** Of the larger replica, at the end of the phase. */
  memoryMiB: number
}

/** An attack, and the quiet time before it. */
export interface Figures {
  quiet: Phase
  during: Phase
}

const KINDS = { code: 'a code', page: 'a page of users', password: 'a password' } as const

/** `loadBefore` is the load average of the machine before the start, which shows how far the figures can be trusted. */
export function report(figures: Figures[], loadBefore: number): string {
  const rows = figures.map(({ quiet, during }) => {
    const cells = (['code', 'page', 'password'] as const).map((kind) =>
      [0.5, 0.95].map((share) => compare(quiet, during, kind, share)).join(' · ')
    )
    return `| ${[during.name, ...cells, unavailable(during), Math.round(during.longestBlockMs), Math.round(during.memoryMiB)].join(' | ')} |`
  })
  return `# Isolation of accounts

How much does one account slow down the others? This page shows the response times of other accounts while one account overloads the service.
[Decision 15](decisions/0015-requests-take-turns.md) explains the mechanism.

\`npm run isolation\` measured the figures on ${machine()}. Two replicas, PostgreSQL, Redis, the other accounts and the attacker share all cores. The load average before
the start was **${loadBefore.toFixed(1)}**; above 1, other programs distort the figures. Limits per minute are switched off, so that only the shares of requests protect the others.

Each cell shows the median and the 95th percentile in milliseconds during the attack. The number in brackets is the ratio to
the quiet seconds before the attack.

| one account … | ${Object.values(KINDS).join(' | ')} | 503 for others | longest block of the event loop, ms | memory of a replica, MiB |
|---|---|---|---|---|---|---|
${rows.join('\n')}
`
}

function compare(quiet: Phase, during: Phase, kind: keyof typeof KINDS, share: number): string {
  const [before, now] = [quiet, during].map(({ latenciesMs }) => quantile(latenciesMs[kind], share))
  return `${now?.toFixed(0)} (${((now ?? 0) / (before ?? 1)).toFixed(1)} ×)`
}

function unavailable({ statuses }: Phase): string {
  const all = Object.values(statuses).reduce((sum, count) => sum + count, 0)
  const others = Object.entries(statuses).filter(([status]) => status !== '200' && status !== '503')
  const rest = others.map(([status, count]) => `, ${count} × ${status}`).join('')
  return `${(((statuses['503'] ?? 0) / all) * 100).toFixed(1)} %${rest}`
}

function quantile(values: number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other)
  return sorted[Math.floor(sorted.length * share)] ?? Number.NaN
}
