// Sends requests over a number of connections. Each connection sends the next request as soon as it has its response.
import { Pool } from 'undici'
import type { Server } from './servers.ts'

export interface LoadRequest {
  method: 'GET' | 'POST'
  path: string
  credential?: string
  body?: unknown
}

export interface Load {
  count: number
  connections: number
  /** Creates the request with this number, just before it is sent. */
  request(index: number): LoadRequest
}

export interface Measurement {
  count: number
  seconds: number
  cpuSeconds: number
  /** Sorted. */
  latenciesMs: number[]
}

/** Sends all requests. Throws at the first response that is not a success. */
export async function measure(
  server: Server,
  { count, connections, request }: Load
): Promise<Measurement> {
  const pool = new Pool(server.url, { connections, pipelining: 1 })
  const latenciesMs: number[] = []
  let next = 0
  const sendRequests = async () => {
    while (next < count) {
      const { method, path, credential, body } = request(next++)
      const sentAt = performance.now()
      const response = await pool.request({
        method,
        path,
        headers: {
          ...(credential && { authorization: `Bearer ${credential}` }),
          ...(body !== undefined && { 'content-type': 'application/json' })
        },
        body: body === undefined ? null : JSON.stringify(body)
      })
      const text = await response.body.text()
      latenciesMs.push(performance.now() - sentAt)
      if (response.statusCode >= 300) throw new Error(`${path}: ${response.statusCode} ${text}`)
    }
  }
  const cpuBefore = server.cpuSeconds()
  const startedAt = performance.now()
  await Promise.all(Array.from({ length: connections }, sendRequests))
  const seconds = (performance.now() - startedAt) / 1000
  const cpuSeconds = server.cpuSeconds() - cpuBefore
  await pool.close()
  return { count, seconds, cpuSeconds, latenciesMs: latenciesMs.toSorted((a, b) => a - b) }
}

/** Combines several measurements into one. */
export function combine(parts: Measurement[]): Measurement {
  const sum = (read: (part: Measurement) => number) =>
    parts.reduce((total, part) => total + read(part), 0)
  return {
    count: sum((part) => part.count),
    seconds: sum((part) => part.seconds),
    cpuSeconds: sum((part) => part.cpuSeconds),
    latenciesMs: parts.flatMap((part) => part.latenciesMs).sort((a, b) => a - b)
  }
}
