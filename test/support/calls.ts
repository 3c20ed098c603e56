// How a test calls the service: in the process or over a socket. Every response is checked against the contract.
import type { FastifyInstance } from 'fastify'
import { createContractCheck } from './contract.ts'

export interface Call {
  /** The bearer credential. */
  as?: string
  /** Sent as JSON; a string or a Buffer is sent as it is. */
  body?: unknown
  headers?: Record<string, string>
  /** The client's address. Over a socket it is always 127.0.0.1. */
  from?: string
}

/** A response, from the process or over a socket. */
export type Answer = Pick<
  Awaited<ReturnType<FastifyInstance['inject']>>,
  'statusCode' | 'headers' | 'body' | 'json'
>

export type Caller = (method: string, path: string, call?: Call) => Promise<Answer>

export function callsInto(app: FastifyInstance): Caller {
  return async (method, url, call = {}) => {
    const { headers, payload } = asSent(call)
    return app.inject({
      method: method as 'GET',
      url,
      headers,
      ...(payload && { payload }),
      ...(call.from && { remoteAddress: call.from })
    })
  }
}

/** Returns a function that calls the service over the network, and may throw. */
export function callsOver(baseUrl: string): Caller {
  return async (method, path, call = {}) => {
    const { headers, payload } = asSent(call)
    const response = await fetch(baseUrl + path, { method, headers, body: payload ?? null })
    const body = await response.text()
    return {
      statusCode: response.status,
      headers: Object.fromEntries(response.headers),
      body,
      json: () => JSON.parse(body)
    }
  }
}

/** Checks that openapi.yaml documents every response for its route, in every test. */
export function heldToContract(app: FastifyInstance, call: Caller): Caller {
  const check = createContractCheck(app)
  return async (method, path, options) => {
    const answer = await call(method, path, options)
    check(method, path, answer)
    return answer
  }
}

function asSent({ as, body, headers = {} }: Call) {
  const isRaw = body === undefined || typeof body === 'string' || Buffer.isBuffer(body)
  return {
    headers: {
      ...(as && { authorization: `Bearer ${as}` }),
      ...(!isRaw && { 'content-type': 'application/json' }),
      ...headers
    },
    payload: isRaw ? body : JSON.stringify(body)
  }
}
