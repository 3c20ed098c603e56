// The query and the cursor that all lists share.
import { type Static, Type } from 'typebox'
import { type PageRequest, readPageRequest } from '../core/lists/pages.ts'
import { invalidMember } from './problem.ts'
import { Nullable } from './scalars.ts'

const PAGE_LIMIT_DEFAULT = 50

export const PageQuery = Type.Object(
  {
    // No `default` keyword: generated clients treat a parameter with a default as a required one.
    limit: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 200,
        description: `The number of items on a page. The default is ${PAGE_LIMIT_DEFAULT}.`
      })
    ),
    cursor: Type.Optional(
      Type.String({ maxLength: 200, description: 'The `nextCursor` of the previous page.' })
    )
  },
  { additionalProperties: false }
)

/** Returns the page that a query asks for. Throws `invalid-request` for a cursor that this service did not issue. */
export function pageRequestOf(query: Static<typeof PageQuery>, idForm: RegExp): PageRequest {
  const { limit = PAGE_LIMIT_DEFAULT, ...place } = query
  // Ajv reads 1e999 as the integer Infinity and then skips the maximum.
  if (!Number.isFinite(limit)) throw invalidMember('/limit', 'must be <= 200')
  const page = readPageRequest({ limit, ...place }, idForm)
  if (page) return page
  throw invalidMember('/cursor', 'must be a nextCursor of this list')
}

export const NextCursor = Nullable(Type.String())
