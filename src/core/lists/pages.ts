// Keyset pagination: a page starts after the last id of the previous page, so inserts never shift it.
import { UUID_PATTERN } from '../ids.ts'
import { decodeCursor, encodeCursor } from './cursors.ts'

export interface PageRequest {
  limit: number
  /** The place of the last row of the previous page: its id, in most lists. */
  after: string | null
}

export interface Page<Row> {
  rows: Row[]
  /** The place after which the next page starts; null on the last page. */
  next: string | null
}

/** Returns the page that a list's query requests; null for a cursor that we never issued. */
export function readPageRequest(
  { limit, cursor }: { limit: number; cursor?: string },
  idForm: RegExp
): PageRequest | null {
  if (cursor === undefined) return { limit, after: null }
  const after = decodeCursor(cursor, idForm)
  return after === null ? null : { limit, after }
}

/** Returns the page of the rows that were read: one row more than requested. */
export function pageOf<Row extends { id: string }>(
  read: Row[],
  limit: number,
  placeOf: (row: Row) => string = ({ id }) => id
): Page<Row> {
  const rows = read.slice(0, limit)
  const last = rows.at(-1)
  return { rows, next: last && read.length > limit ? placeOf(last) : null }
}

/** A place in a list that is ordered by an instant and then by id. */
export const INSTANT_PLACE_FORM = new RegExp(`^(?<ms>0|-?[1-9]\\d{0,13})\\.(?<id>${UUID_PATTERN})$`)

/** Returns the place of a row in such a list. */
export function instantPlaceOf({ at, id }: { at: Date; id: string }): string {
  return `${at.getTime()}.${id}`
}

/** Reads a place. Returns null for text that is none. */
export function readInstantPlace(place: string): { at: Date; id: string } | null {
  const { ms, id } = INSTANT_PLACE_FORM.exec(place)?.groups ?? {}
  return id === undefined ? null : { at: new Date(Number(ms)), id }
}

/** Returns the page as the API sends it. */
export function pageAnswer<Row, Item>({ rows, next }: Page<Row>, asItem: (row: Row) => Item) {
  return { items: rows.map(asItem), nextCursor: next === null ? null : encodeCursor(next) }
}
