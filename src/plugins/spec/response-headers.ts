// Describes the headers of the responses in the spec.
import { REPLAYED_HEADER } from '../../wire/repeated-requests.ts'
import type { SpecDocument, SpecOperation } from './named-objects.ts'

const text = { type: 'string' }
const count = { type: 'integer', minimum: 0 }

const HEADERS = {
  RequestId: {
    description: 'The id of this request in the log of the service.',
    schema: { ...text, format: 'uuid' }
  },
  CacheControl: {
    description: '`no-store`, except for the public documents that may be cached.',
    schema: { ...text, examples: ['no-store'] }
  },
  RateLimitLimit: {
    description:
      'The number of requests that the tightest limit allows in its window. Absent if no limit has counted the request.',
    schema: count
  },
  RateLimitRemaining: {
    description: 'How many of these requests are left.',
    schema: count
  },
  RateLimitReset: {
    description: 'The seconds until the window of the limit ends.',
    schema: count
  },
  RetryAfter: {
    description: 'The seconds to wait before the next try.',
    schema: count
  },
  WwwAuthenticate: {
    description:
      'The credential that the route requires (RFC 6750), or the required sign-in (RFC 9470).',
    schema: { ...text, examples: ['Bearer error="invalid_token"'] }
  },
  IdempotentReplayed: {
    description:
      '`true` if the response is that of an earlier request with the same `Idempotency-Key`.',
    schema: { ...text, enum: ['true'] }
  }
} as const

type HeaderName = keyof typeof HEADERS

const EVERYWHERE = { 'x-request-id': 'RequestId', 'Cache-Control': 'CacheControl' } as const
const LIMITED = {
  'RateLimit-Limit': 'RateLimitLimit',
  'RateLimit-Remaining': 'RateLimitRemaining',
  'RateLimit-Reset': 'RateLimitReset'
} as const

/** Adds the headers to every response. A response that declares a header of its own keeps it. */
export function describeHeaders({ paths, components }: SpecDocument): void {
  components.headers = HEADERS
  for (const operation of Object.values(paths).flatMap((methods) => Object.values(methods))) {
    for (const [status, response] of Object.entries(operation.responses ?? {})) {
      response.headers = { ...referencesTo(headersOf(operation, status)), ...response.headers }
    }
  }
}

function headersOf({ responses = {}, parameters = [] }: SpecOperation, status: string) {
  const isRepeatable = parameters.some(({ name }) => name === 'idempotency-key')
  const waits = status === '429' || status === '503' || (isRepeatable && status === '409')
  return {
    ...EVERYWHERE,
    ...(responses['429'] ? LIMITED : {}),
    ...(waits ? ({ 'Retry-After': 'RetryAfter' } as const) : {}),
    ...(status === '401' ? ({ 'WWW-Authenticate': 'WwwAuthenticate' } as const) : {}),
    ...(isRepeatable && status === '201'
      ? ({ [REPLAYED_HEADER]: 'IdempotentReplayed' } as const)
      : {})
  }
}

function referencesTo(names: Record<string, HeaderName>) {
  const entries = Object.entries(names)
  return Object.fromEntries(
    entries.map(([header, name]) => [header, { $ref: `#/components/headers/${name}` }])
  )
}
