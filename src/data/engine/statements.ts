// Statements whose text never changes. They are composed and named once, and the server prepares each of them once per
// connection. A call only reads the values from its input.
import { createHash } from 'node:crypto'
import { Prisma, type PrismaClient } from '../../generated/prisma/client.ts'

type Read<Input> = (input: Input) => unknown

/** A piece of SQL with places for values, and the function that reads each value from an input. */
export interface Template<Input> {
  /** The SQL before, between and after the places: one text more than there are places. */
  texts: readonly string[]
  reads: readonly Read<Input>[]
}

/** A complete statement. Its name is derived from its text: the same on every replica, and different for each text. */
export interface Statement<Input> {
  name: string
  text: string
  valuesOf(input: Input): unknown[]
}

/** The two ways in which the data layer runs statements. */
export interface Clients {
  prisma: PrismaClient
  query: Query
  clock: DatabaseClock
}

/**
 * The current time of the database, in SQL. All replicas share it, so it judges what must not depend on the clock of one
 * replica. A test replaces it.
 */
export type DatabaseClock = Template<unknown>

/**
 * Runs one statement directly on the driver. Prisma would spend more time on it than the database
 * (docs/decisions/0012).
 */
export type Query = <Row, Input>(statement: Statement<Input>, input: Input) => Promise<Row[]>

/** Returns a template of SQL without values. */
export function raw(text: string): Template<unknown> {
  return { texts: [text], reads: [] }
}

/** Returns the template if the condition holds, and an empty template otherwise. */
export function when<Input>(holds: boolean, template: Template<Input>): Template<Input> {
  return holds ? template : raw('')
}

/** Builds a template from SQL, functions that read its values, and other templates. */
export function template<Input>(
  strings: TemplateStringsArray,
  ...parts: (Read<Input> | Template<Input>)[]
): Template<Input> {
  const texts = [strings[0] ?? '']
  const reads: Read<Input>[] = []
  parts.forEach((part, index) => {
    const {
      texts: [head = '', ...rest],
      reads: inner
    } = typeof part === 'function' ? { texts: ['', ''], reads: [part] } : part
    texts.push(`${texts.pop()}${head}`, ...rest)
    texts.push(`${texts.pop()}${strings[index + 1] ?? ''}`)
    reads.push(...inner)
  })
  return { texts, reads }
}

/** Returns the template for an input of which the template's own input is a part. */
export function on<Whole, Part>(
  part: (whole: Whole) => Part,
  { texts, reads }: Template<Part>
): Template<Whole> {
  return { texts, reads: reads.map((read) => (whole: Whole) => read(part(whole))) }
}

/** Turns a template into a statement. A value that the same function reads in several places is sent once. */
export function prepare<Input>({ texts, reads }: Template<Input>): Statement<Input> {
  const [head = '', ...rest] = texts
  const sent = [...new Set(reads)]
  const places = reads.map((read) => `$${sent.indexOf(read) + 1}`)
  const text = rest.reduce((sofar, next, index) => `${sofar}${places[index]}${next}`, head)
  const name = createHash('sha256').update(text).digest('base64url').slice(0, 22)
  return { name, text, valuesOf: (input) => sent.map((read) => sentForm(read(input))) }
}

/** Fills a template with the values of an input, for a statement that Prisma runs. */
export function filled<Input>({ texts, reads }: Template<Input>, input: Input): Prisma.Sql {
  return new Prisma.Sql(
    texts,
    reads.map((read) => read(input))
  )
}

/** Returns many inputs as one JSON value for `json_to_recordset`. Each has its `place`, counted from 0. */
export function inPlaces(inputs: readonly object[]): string {
  return JSON.stringify(inputs.map((input, place) => ({ ...input, place })))
}

/** Returns the rows of such a statement in the order of the inputs; null for an input without a row. */
export function byPlace<Row extends { place: number }>(
  inputs: readonly unknown[],
  rows: readonly Row[]
): (Row | null)[] {
  const places = new Map(rows.map((row) => [row.place, row]))
  return inputs.map((_, place) => places.get(place) ?? null)
}

/** `pg` would send a Date in the time zone of the machine, and format its parts one by one. */
function sentForm(value: unknown): unknown {
  return value instanceof Date ? value.toISOString() : value
}
