// Requests by a number of connections that each send the next one as soon as they have their answer.
import { Pool } from 'undici'
import type { Server } from './servers.ts'

export interface Shot {
  method: 'GET' | 'POST'
  path: string
  credential?: string
  body?: unknown
}

export interface Load {
  count: number
  connections: number
  /** The request of that number, made when its turn comes. */
  shot(index: number): Shot
}

export interface Measured {
  count: number
  seconds: number
  cpuSeconds: number
  /** Sorted. */
  latenciesMs: number[]
}

/** Sends them all, and throws at the first answer that is not a success. */
export async function measure(
  server: Server,
  { count, connections, shot }: Load
): Promise<Measured> {
  const pool = new Pool(server.url, { connections, pipelining: 1 })
  const latenciesMs: number[] = []
  let next = 0
  const sendOn = async () => {
    while (next < count) {
      const { method, path, credential, body } = shot(next++)
      const sentAt = performance.now()
      const answer = await pool.request({
        method,
        path,
        headers: {
          ...(credential && { authorization: `Bearer ${credential}` }),
          ...(body !== undefined && { 'content-type': 'application/json' })
        },
        body: body === undefined ? null : JSON.stringify(body)
      })
      const text = await answer.body.text()
      latenciesMs.push(performance.now() - sentAt)
      if (answer.statusCode >= 300) throw new Error(`${path}: ${answer.statusCode} ${text}`)
    }
  }
  const cpuBefore = server.cpuSeconds()
  const startedAt = performance.now()
  await Promise.all(Array.from({ length: connections }, sendOn))
  const seconds = (performance.now() - startedAt) / 1000
  const cpuSeconds = server.cpuSeconds() - cpuBefore
  await pool.close()
  return { count, seconds, cpuSeconds, latenciesMs: latenciesMs.toSorted((a, b) => a - b) }
}

/** Several measurements as one. */
export function joined(parts: Measured[]): Measured {
  const sum = (read: (part: Measured) => number) =>
    parts.reduce((total, part) => total + read(part), 0)
  return {
    count: sum((part) => part.count),
    seconds: sum((part) => part.seconds),
    cpuSeconds: sum((part) => part.cpuSeconds),
    latenciesMs: parts.flatMap((part) => part.latenciesMs).sort((a, b) => a - b)
  }
}
