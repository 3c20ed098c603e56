// Keyset pagination: a page starts after the last id of the one before, so inserts never shift it.
import { decodeCursor, encodeCursor } from './cursors.ts'

export interface PageRequest {
  limit: number
  /** The last id of the page before. */
  after: string | null
}

export interface Page<Row> {
  rows: Row[]
  /** The id after which the next page starts; null on the last page. */
  next: string | null
}

export const UUID_FORM = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** The page that a list's query asks for; null for a cursor that we never made. */
export function readPageRequest(
  { limit, cursor }: { limit: number; cursor?: string },
  idForm: RegExp
): PageRequest | null {
  if (cursor === undefined) return { limit, after: null }
  const after = decodeCursor(cursor, idForm)
  return after === null ? null : { limit, after }
}

/** Cuts what was read (one row more than asked for) into a page. */
export function pageOf<Row extends { id: string }>(read: Row[], limit: number): Page<Row> {
  const rows = read.slice(0, limit)
  return { rows, next: read.length > limit ? (rows.at(-1)?.id ?? null) : null }
}

/** The page as it goes out. */
export function pageAnswer<Row, Item>({ rows, next }: Page<Row>, asItem: (row: Row) => Item) {
  return { items: rows.map(asItem), nextCursor: next === null ? null : encodeCursor(next) }
}
