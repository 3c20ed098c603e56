// Plays a set-up and a sign-in in the terminal: `npm run demo` with your own phone, `npm run demo -- --auto` without one.
import { parseArgs } from 'node:util'
import { createCalls } from './demo/calls.ts'
import { startDeployment } from './demo/deployment.ts'
import { openPerson } from './demo/person.ts'
import { createSimulator } from './demo/simulator.ts'
import { playStory } from './demo/story.ts'

async function demo(): Promise<void> {
  const { values } = parseArgs({ options: { auto: { type: 'boolean', default: false } } })
  const print = (line: string) => console.log(line)
  print('\nStarting the service with a database in memory …')
  const deployment = await startDeployment()
  const phone = values.auto ? createSimulator(print) : openPerson(print)
  try {
    await playStory({ deployment, phone, print, calls: createCalls(deployment.url, print) })
  } finally {
    phone.putAway()
    await deployment.stop()
  }
}

try {
  await demo()
} catch (error) {
  console.error(`\ndemo: ${error instanceof Error ? error.message : error}`)
  process.exitCode = 1
}
