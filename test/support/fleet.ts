import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { type Caller, callsOver } from './calls.ts'
import { type Server, startServer } from './server.ts'

const PROBE_EVERY_MS = 100

interface Replica {
  /** Whether the load balancer sends requests to it: it was ready at the last probe. */
  readonly isInRotation: boolean
  kill(): Promise<void>
  /** Sends SIGTERM and returns the exit code. */
  stop(): Promise<number | null>
  /** Resolves when it is ready. */
  start(): Promise<void>
}

export interface Fleet {
  /**
   * Sends a call to the next ready replica, as a load balancer does. If a replica refuses the connection, it has not
   * received the call, which then goes to another replica. Any other connection error is thrown, because the caller
   * cannot know whether the act was done.
   */
  call: Caller
  replicas: readonly Replica[]
}

/** Starts replicas of the built service behind a load balancer that probes their readiness. */
export async function startFleet(
  t: Test,
  { replicas: count, env }: { replicas: number; env: NodeJS.ProcessEnv }
): Promise<Fleet> {
  const members = await Promise.all(Array.from({ length: count }, () => startMember(t, env)))
  let turn = 0
  const call: Caller = async (method, path, options) => {
    const ready = members.filter(({ isInRotation }) => isInRotation)
    for (let tried = 0; tried < ready.length; tried += 1) {
      turn += 1
      const member = ready[turn % ready.length]
      try {
        if (member) return await callsOver(member.url())(method, path, options)
      } catch (error) {
        if (!isRefused(error)) throw error
      }
    }
    // A caller that tries again immediately would leave no time for the next probe.
    await sleep(PROBE_EVERY_MS)
    throw new Error('no replica is ready')
  }
  return { call, replicas: members }
}

async function startMember(t: Test, env: NodeJS.ProcessEnv) {
  let server: Server | null = await startServer(t, env)
  let isInRotation = true
  let isOver = false
  const probing = (async () => {
    while (!isOver) {
      const url: string | undefined = server?.url
      const answer = url ? await fetch(`${url}/health/ready`).catch(() => null) : null
      if (url === server?.url) isInRotation = answer?.ok === true
      await answer?.arrayBuffer()
      await sleep(PROBE_EVERY_MS)
    }
  })()
  t.teardown(async () => {
    isOver = true
    await probing
  })
  return {
    get isInRotation() {
      return isInRotation
    },
    url: () => server?.url ?? '',
    kill: async () => {
      await server?.kill()
      server = null
    },
    stop: async () => {
      const code = (await server?.stop()) ?? null
      server = null
      return code
    },
    start: async () => {
      server = await startServer(t, env)
      isInRotation = true
    }
  }
}

function isRefused(error: unknown): boolean {
  return error instanceof Error && (error.cause as { code?: string })?.code === 'ECONNREFUSED'
}
