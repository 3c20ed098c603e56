// What has expired is deleted in the background, by every replica alike: deleting twice does no harm.
import fastifyPlugin from 'fastify-plugin'
import type { Enrollments } from '../data/enrollments.ts'
import type { Verdicts } from '../data/verdicts.ts'

export interface HousekeepingOptions {
  verdicts: Verdicts
  enrollments: Enrollments
  now: () => Date
}

const INTERVAL_MS = 60_000

export const housekeeping = fastifyPlugin<HousekeepingOptions>(
  async (app, { verdicts, enrollments, now }) => {
    async function sweep(): Promise<void> {
      try {
        await verdicts.forgetExpiredStepTokens(now())
        await enrollments.forgetExpired(now())
      } catch (error) {
        app.log.warn(error, 'expired rows are still there')
      }
    }
    const timer = setInterval(sweep, INTERVAL_MS).unref()
    app.addHook('onClose', async () => clearInterval(timer))
  },
  { name: 'housekeeping' }
)
