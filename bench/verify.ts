// Measures the second step. Each request verifies a fresh code of a different user and is sent once.
import { resetTimeSteps, vacuum } from './fill.ts'
import { signStepToken } from './keys.ts'
import { combine, type Measurement, measure } from './load.ts'
import type { Server } from './servers.ts'
import { currentCode, userAt } from './users.ts'

const CONNECTIONS = 32

export interface Deployment {
  databaseUrl: string
  users: number
}

/**
 * Measures `count` verifications in a new process, after the same number to warm up. `first` is the number of the first
 * user.
 */
export async function measureVerify(
  start: (databaseUrl: string) => Promise<Server>,
  deployment: Deployment,
  { first, count }: { first: number; count: number }
): Promise<Measurement & { peakMiB: number }> {
  await vacuum(deployment.databaseUrl)
  const server = await start(deployment.databaseUrl)
  try {
    await verifyAll(server, deployment, { first, count })
    const measured = await verifyAll(server, deployment, { first: first + count, count })
    return { ...measured, peakMiB: server.memory().peakMiB }
  } finally {
    await server.stop()
  }
}

/** If there are fewer users than requests, resets the time steps each time that every user has verified once. */
async function verifyAll(
  server: Server,
  { databaseUrl, users }: Deployment,
  { first, count }: { first: number; count: number }
): Promise<Measurement> {
  const parts: Measurement[] = []
  for (let done = 0; done < count; done += users) {
    if (count > users) await resetTimeSteps(databaseUrl)
    parts.push(
      await measure(server, {
        count: Math.min(users, count - done),
        connections: CONNECTIONS,
        request(index) {
          const user = userAt((first + done + index) % users)
          const credential = signStepToken(user, 'verify')
          return {
            method: 'POST',
            path: '/v1/verify',
            credential,
            body: { code: currentCode(user) }
          }
        }
      })
    )
  }
  return combine(parts)
}
