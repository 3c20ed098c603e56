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
import { describeMissingKeys, type KeysOptions } from './list.ts'

interface RotateMasterOptions {
  /** Receives the progress line by line. */
  print: (line: string) => void
  /** The number of values in one statement, which locks their rows while it runs. */
  pageSize?: number
}

/** A statement with this many values locks their rows for about ten milliseconds. */
const PAGE_SIZE = 500
/** A row that a request has locked in one round is free in the next, because requests take milliseconds. */
const ROUNDS_MAX = 5

/**
 * Re-seals with the newest master key every value that is sealed with an older one. Replicas can serve requests in the
 * meantime. It may stop at any time: the next run continues with the values that are left. The failure says how many values are left, and why.
 */
export async function rotateMaster(
  { prisma, masterKeys }: KeysOptions,
  { print, pageSize = PAGE_SIZE }: RotateMasterOptions
): Promise<{ lines: string[]; failure: string | null }> {
  const values = createSealedValues(prisma)
  const resealer = createResealer(masterKeys)
  const [newest] = masterKeys
  const outdated = sumOf((await takeCensus(values, masterKeys)).slice(1))
  print(`${outdated} values are not sealed under ${newest.id} yet.`)

  let unopened: string[] = []
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const outcomes: RoundOutcome[] = []
    for (const kind of SEALED_KINDS) {
      outcomes.push(await resealKind(kind, { values, resealer, print, pageSize }))
    }
    unopened = outcomes.flatMap((outcome) => outcome.unopened)
    if (outcomes.every(({ missed }) => missed === 0)) break
  }

  const census = await takeCensus(values, masterKeys)
  const left = sumOf(census.slice(1))
  if (left === 0 && unopened.length === 0) {
    return { lines: [`All ${sumOf(census)} values are sealed under ${newest.id}.`], failure: null }
  }
  const why =
    describeMissingKeys(census) ?? unopened[0] ?? 'they changed during the run, so run it again'
  return { lines: [], failure: `${left} values are left: ${why}` }
}

interface RoundOutcome {
  /** The number of values that were locked or have changed. */
  missed: number
  /** A line for each value that the ring can't unseal, with the reason. */
  unopened: string[]
}

async function resealKind(
  kind: SealedKind,
  {
    values,
    resealer,
    print,
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
    print(`${kind}: ${done} re-sealed`)
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
