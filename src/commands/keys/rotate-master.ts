import {
  createResealer,
  type Resealer,
  SEALED_KINDS,
  type SealedKind,
  type SealedValue
} from '../../crypto/resealing.ts'
import {
  createSealedValues,
  type ResealedValue,
  type SealedValues
} from '../../data/keys/sealed-values.ts'
import { takeCensus } from './census.ts'
import { type KeysOptions, lackOf } from './list.ts'

export interface RotateMasterOptions {
  /** Hears of progress, line by line. */
  say: (line: string) => void
  /** Values in one statement, whose rows are locked while it runs. */
  pageSize?: number
}

/** Some ten milliseconds of locks. */
const PAGE_SIZE = 500
/** What somebody was at in one round is done in the next; sign-ins take milliseconds. */
const ROUNDS_MAX = 5

/**
 * Re-seals every value to the ring's first key, while replicas serve. It may be killed at any time: what is done is
 * done, and the next run goes on with the rest. Says what is left, and why.
 */
export async function rotateMaster(
  { prisma, masterKeys }: KeysOptions,
  { say, pageSize = PAGE_SIZE }: RotateMasterOptions
): Promise<{ lines: string[]; trouble: string | null }> {
  const values = createSealedValues(prisma)
  const resealer = createResealer(masterKeys)
  const [newest] = masterKeys
  const outdated = sumOf((await takeCensus(values, masterKeys)).slice(1))
  say(`${outdated} values are sealed by other master keys than ${newest.id}.`)

  let unopened: string[] = []
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const outcomes: RoundOutcome[] = []
    for (const kind of SEALED_KINDS) {
      outcomes.push(await resealKind(kind, { values, resealer, say, pageSize }))
    }
    unopened = outcomes.flatMap((outcome) => outcome.unopened)
    if (outcomes.every(({ missed }) => missed === 0)) break
  }

  const census = await takeCensus(values, masterKeys)
  const left = sumOf(census.slice(1))
  if (left === 0 && unopened.length === 0) {
    return { lines: [`All ${sumOf(census)} values are sealed by ${newest.id}.`], trouble: null }
  }
  const why = lackOf(census) ?? unopened[0] ?? 'changed meanwhile: run it again'
  return { lines: [], trouble: `${left} values are left: ${why}` }
}

interface RoundOutcome {
  /** What somebody else was at, or has changed. */
  missed: number
  /** What can't be opened by the ring, and why. */
  unopened: string[]
}

async function resealKind(
  kind: SealedKind,
  {
    values,
    resealer,
    say,
    pageSize
  }: RotateMasterOptions & { values: SealedValues; resealer: Resealer; pageSize: number }
): Promise<RoundOutcome> {
  const outcome: RoundOutcome = { missed: 0, unopened: [] }
  let done = 0
  for await (const page of values.pages(kind, pageSize)) {
    const { resealed, unopened } = resealPage(resealer, kind, page)
    outcome.unopened.push(...unopened)
    if (resealed.length === 0) continue
    const replaced = await values.replace(kind, resealed)
    outcome.missed += resealed.length - replaced
    done += replaced
    say(`${kind}: ${done} re-sealed`)
  }
  return outcome
}

function resealPage(resealer: Resealer, kind: SealedKind, page: readonly SealedValue[]) {
  const resealed: ResealedValue[] = []
  const unopened: string[] = []
  for (const value of page) {
    const verdict = resealer.reseal(kind, value)
    if (verdict.outcome === 'resealed') resealed.push({ ...value, resealed: verdict.sealed })
    if (verdict.outcome === 'not-opened') {
      unopened.push(`${kind}, row ${value.context.join(' ')}: ${verdict.reason}`)
    }
  }
  return { resealed, unopened }
}

function sumOf(census: readonly { total: number }[]): number {
  return census.reduce((sum, { total }) => sum + total, 0)
}
