import type { Test } from 'tap'
import type { Answer } from './calls.ts'

const MEMBERS = ['type', 'title', 'status', 'detail', 'code', 'requestId'] as const

/**
 * Asserts that a response is the problem of that status and code, in the form and with the headers
 * that the contract gives every problem. Returns the document.
 */
export function isProblem(
  t: Test,
  answer: Answer,
  status: number | readonly number[],
  code: string | readonly string[]
): Record<string, unknown> {
  const { headers } = answer
  const document: Record<string, unknown> = readDocument(answer)
  const found = { status: answer.statusCode, code: document['code'] }
  const isExpected =
    [status].flat().includes(answer.statusCode) && [code].flat().includes(String(document['code']))
  t.ok(isExpected, `${status} ${code}`, { found, body: answer.body })
  const form = {
    mediaType: String(headers['content-type']).split(';')[0],
    cacheControl: headers['cache-control'],
    contentTypeOptions: headers['x-content-type-options'],
    missing: MEMBERS.filter((member) => !document[member]),
    type: document['type'],
    status: document['status'],
    requestId: document['requestId']
  }
  t.same(form, {
    mediaType: 'application/problem+json',
    cacheControl: 'no-store',
    contentTypeOptions: 'nosniff',
    missing: [],
    type: `urn:twostep:problem:${document['code']}`,
    status: answer.statusCode,
    requestId: headers['x-request-id']
  })
  return document
}

/** Returns the pointers of `errors` in a 400. */
export function pointersOf(document: Record<string, unknown>): string[] {
  const { errors } = document as { errors?: { pointer: string }[] }
  return (errors ?? []).map(({ pointer }) => pointer)
}

function readDocument({ body }: Pick<Answer, 'body'>): Record<string, unknown> {
  try {
    return JSON.parse(body)
  } catch {
    return {}
  }
}

const PER_REQUEST_HEADERS = /^(x-request-id|date|ratelimit-.*)$/

/** Returns everything in a response that could distinguish two refusals: all except the request's own id and counts. */
export function tellTales({ statusCode, headers, body }: Answer) {
  const { requestId } = readDocument({ body })
  const kept = Object.entries(headers).filter(([name]) => !PER_REQUEST_HEADERS.test(name))
  return {
    statusCode,
    headers: Object.fromEntries(kept),
    body: body.replace(String(requestId), '<requestId>')
  }
}
