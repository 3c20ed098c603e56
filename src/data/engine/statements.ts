// Statements whose text never changes. They are put together and named once, the server prepares each of them once a
// connection, and a call does no more than read their values from its input.
import { createHash } from 'node:crypto'
import { Prisma, type PrismaClient } from '../../generated/prisma/client.ts'

type Read<Input> = (input: Input) => unknown

/** A piece of SQL with places for values, and how each value is read from an input. */
export interface Template<Input> {
  /** One more than there are places. */
  texts: readonly string[]
  reads: readonly Read<Input>[]
}

/** A whole statement, prepared under a name that tells its text: the same on every replica, another for another text. */
export interface Statement<Input> {
  name: string
  text: string
  valuesOf(input: Input): unknown[]
}

/** What an aggregate of the data layer runs its statements on. */
export interface Clients {
  prisma: PrismaClient
  query: Query
}

/** Runs one statement on the driver itself: Prisma's work on it would be more than the database's (docs/decisions/0012). */
export type Query = <Row, Input>(statement: Statement<Input>, input: Input) => Promise<Row[]>

/** SQL as it stands, without values. */
export function raw(text: string): Template<unknown> {
  return { texts: [text], reads: [] }
}

/** The template, or nothing. */
export function when<Input>(holds: boolean, template: Template<Input>): Template<Input> {
  return holds ? template : raw('')
}

/** A template of SQL with functions that read its values, and with other templates. */
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

/** The template over a whole of which its own input is a part. */
export function on<Whole, Part>(
  part: (whole: Whole) => Part,
  { texts, reads }: Template<Part>
): Template<Whole> {
  return { texts, reads: reads.map((read) => (whole: Whole) => read(part(whole))) }
}

/** A value that the same function reads in several places is sent once. */
export function prepare<Input>({ texts, reads }: Template<Input>): Statement<Input> {
  const [head = '', ...rest] = texts
  const sent = [...new Set(reads)]
  const places = reads.map((read) => `$${sent.indexOf(read) + 1}`)
  const text = rest.reduce((sofar, next, index) => `${sofar}${places[index]}${next}`, head)
  const name = createHash('sha256').update(text).digest('base64url').slice(0, 22)
  return { name, text, valuesOf: (input) => sent.map((read) => sentForm(read(input))) }
}

/** The template with the values of an input, for a statement that Prisma runs. */
export function filled<Input>({ texts, reads }: Template<Input>, input: Input): Prisma.Sql {
  return new Prisma.Sql(
    texts,
    reads.map((read) => read(input))
  )
}

/** Many inputs as one value of JSON, each with its place, from 0: for `json_to_recordset`. */
export function inPlaces(inputs: readonly object[]): string {
  return JSON.stringify(inputs.map((input, place) => ({ ...input, place })))
}

/** The rows of such a statement, each where its input is; null for an input that has none. */
export function byPlace<Row extends { place: number }>(
  inputs: readonly unknown[],
  rows: readonly Row[]
): (Row | null)[] {
  const places = new Map(rows.map((row) => [row.place, row]))
  return inputs.map((_, place) => places.get(place) ?? null)
}

/** `pg` would spell out an instant member by member, in the time zone of the machine. */
function sentForm(value: unknown): unknown {
  return value instanceof Date ? value.toISOString() : value
}
