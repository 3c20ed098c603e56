// The second step: each request is another person's fresh code, fired once.
import { forgetTimeSteps, vacuum } from './fill.ts'
import { stepTokenOf } from './keys.ts'
import { joined, type Measured, measure } from './load.ts'
import { codeOf, personAt } from './people.ts'
import type { Server } from './servers.ts'

const CONNECTIONS = 32

export interface Deployment {
  databaseUrl: string
  people: number
}

/** A fresh process: as many requests to warm up as are measured then. `first` is the number of the first person. */
export async function measureVerify(
  start: (databaseUrl: string) => Promise<Server>,
  deployment: Deployment,
  { first, count }: { first: number; count: number }
): Promise<Measured & { peakMiB: number }> {
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

/** Where there are fewer people than requests, everybody's code is made good again each time that all have had a turn. */
async function verifyAll(
  server: Server,
  { databaseUrl, people }: Deployment,
  { first, count }: { first: number; count: number }
): Promise<Measured> {
  const parts: Measured[] = []
  for (let done = 0; done < count; done += people) {
    if (count > people) await forgetTimeSteps(databaseUrl)
    parts.push(
      await measure(server, {
        count: Math.min(people, count - done),
        connections: CONNECTIONS,
        shot(index) {
          const person = personAt((first + done + index) % people)
          const credential = stepTokenOf(person, 'verify')
          return { method: 'POST', path: '/v1/verify', credential, body: { code: codeOf(person) } }
        }
      })
    )
  }
  return joined(parts)
}
