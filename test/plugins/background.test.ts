// Jobs that run next to the requests. A job never overlaps itself, never ends the service, and stops when it closes.
import { once } from 'node:events'
import Fastify from 'fastify'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { background, type Job } from '../../src/plugins/background.ts'

const SOON_SECONDS = 0.005

interface Line {
  msg: string
  job?: string
  err?: { message: string }
}

/** Starts an application with only this plugin. It listens, because the pauses of jobs keep no process alive. */
async function start(t: Test, run: Job['run']) {
  const logged: Line[] = []
  const log = pino({ level: 'info' }, { write: (line: string) => logged.push(JSON.parse(line)) })
  const app = Fastify({ loggerInstance: log })
  t.teardown(() => app.close())
  await app.register(background, {
    jobs: [{ name: 'the job', everySeconds: SOON_SECONDS, run }],
    isDatabaseUnavailable: (error) => error instanceof Error && error.message.startsWith('P1001')
  })
  return { app, logged }
}

/** Returns a job that counts its runs, with a function that waits for the n-th run. */
function counting(run: (count: number) => unknown = () => {}) {
  const runs = new EventTarget()
  let count = 0
  return {
    count: () => count,
    run: async () => {
      count += 1
      runs.dispatchEvent(new Event('run'))
      return run(count)
    },
    async until(wanted: number) {
      while (count < wanted) await once(runs, 'run')
    }
  }
}

t.test('a job runs repeatedly from when the service is ready', async (t) => {
  const job = counting()
  const { app } = await start(t, job.run)
  t.equal(job.count(), 0)
  await app.listen({ port: 0 })
  await job.until(3)
  await app.close()
  const count = job.count()
  await new Promise((resolve) => setTimeout(resolve, 10 * SOON_SECONDS * 1000))
  t.equal(job.count(), count, 'no run after the close')
})

t.test('the close of the service aborts the current run', async (t) => {
  const job = counting()
  let underWay: Promise<unknown> | undefined
  const { app } = await start(t, (stop) => {
    underWay ??= once(stop, 'abort')
    return Promise.all([job.run(), underWay])
  })
  await app.listen({ port: 0 })
  await job.until(1)
  await app.close()
  await underWay
})

t.test('a job never overlaps itself, and the close waits for the current run', async (t) => {
  let underWay = 0
  let finished = 0
  const job = counting(async () => {
    underWay += 1
    t.equal(underWay, 1)
    await new Promise((resolve) => setTimeout(resolve, 6 * SOON_SECONDS * 1000))
    underWay -= 1
    finished += 1
  })
  const { app } = await start(t, job.run)
  await app.listen({ port: 0 })
  await job.until(3)
  await app.close()
  t.equal(finished, 3)
})

t.test('a job with more work runs again immediately, but not after the close', async (t) => {
  const job = counting(async () => {
    await new Promise(setImmediate)
    return true
  })
  const { app } = await start(t, job.run)
  await app.listen({ port: 0 })
  const startedAt = performance.now()
  await job.until(100)
  t.ok(performance.now() - startedAt < 100 * SOON_SECONDS * 1000, 'without the pause')
  await app.close()
})

t.test('a job runs again after an error, and each new state is logged once', async (t) => {
  const outcomes = [
    ...['P1001: 10.0.0.1', 'P1001: 10.0.0.2', 'P1001: 10.0.0.1', 'other', 'other', ''],
    ...['', 'P1001: 10.0.0.1', '']
  ]
  const job = counting((count) => {
    const message = outcomes[count - 1]
    if (message) throw new Error(message)
  })
  const { app, logged } = await start(t, job.run)
  await app.listen({ port: 0 })
  await job.until(outcomes.length + 1)
  const lines = logged.filter((line) => line.job === 'the job')
  t.same(
    lines.map(({ msg, err }) => [msg, err?.message].join(': ')),
    [
      'background job failed: P1001: 10.0.0.1',
      'background job failed: other',
      'background job recovered: ',
      'background job failed: P1001: 10.0.0.1',
      'background job recovered: '
    ]
  )
})

t.test('a service that closes before it is ready runs no job', async (t) => {
  const job = counting()
  const { app } = await start(t, job.run)
  await app.close()
  t.equal(job.count(), 0)
})

t.test('Node does not take the pauses of many jobs for a leak', async (t) => {
  const warnings: string[] = []
  const onWarning = ({ name }: Error) => warnings.push(name)
  process.on('warning', onWarning)
  t.teardown(() => process.off('warning', onWarning))
  const app = Fastify()
  t.teardown(() => app.close())
  const jobs = Array.from({ length: 30 }, (_, index) => {
    return { name: `job ${index}`, everySeconds: 3600, run: async () => {} }
  })
  await app.register(background, { jobs, isDatabaseUnavailable: () => false })
  await app.ready()
  // Node emits warnings in a later turn.
  await new Promise((resolve) => setTimeout(resolve, 10))
  t.same(warnings, [])
})
