// How every list is asked for, and how its next page is found.
import { type Static, Type } from 'typebox'
import { type PageRequest, readPageRequest } from '../core/lists/pages.ts'
import { invalidMember } from './problem.ts'
import { Nullable } from './scalars.ts'

const PAGE_LIMIT_DEFAULT = 50

export const PageQuery = Type.Object(
  {
    // No `default` keyword: generated clients take a parameter that has one for one that must be given.
    limit: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 200,
        description: `Items on a page; ${PAGE_LIMIT_DEFAULT} unless told.`
      })
    ),
    cursor: Type.Optional(
      Type.String({ maxLength: 200, description: '`nextCursor` of the page before.' })
    )
  },
  { additionalProperties: false }
)

/** The page that a list's query asks for. Throws `invalid-request` for a cursor that we never made. */
export function pageRequestOf(query: Static<typeof PageQuery>, idForm: RegExp): PageRequest {
  const { limit = PAGE_LIMIT_DEFAULT, ...place } = query
  // Ajv reads 1e999 as an integer, an infinite one, which no maximum stops then.
  if (!Number.isFinite(limit)) throw invalidMember('/limit', 'must be <= 200')
  const page = readPageRequest({ limit, ...place }, idForm)
  if (page) return page
  throw invalidMember('/cursor', 'must be a nextCursor of this list')
}

export const NextCursor = Nullable(Type.String())
