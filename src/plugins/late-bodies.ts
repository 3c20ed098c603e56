// A credential is judged before the body is read, and whoever sends the body chooses when. So a request could be begun
// with a living token, held open while that is taken away, and finished afterwards.
import type { FastifyRequest } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import type { ApiKeys } from '../data/accounts/api-keys.ts'
import type { Subjects } from '../data/sign-in/subjects.ts'
import { Problem, revokedCredential } from '../wire/problem.ts'
import type { Credential } from './credentials.ts'

/** Bodies of 16 KiB come with their headers or right behind them; whatever takes longer is waited for. */
const LATE_MS = 250

declare module 'fastify' {
  interface FastifyRequest {
    /** When the body began to be read, by a clock that only rises. */
    bodyAwaitedSince: number
  }
}

export interface LateBodiesOptions {
  apiKeys: ApiKeys
  subjects: Subjects
  now: () => Date
}

/** Judges a credential again after a body that was long in coming, by the rows as they are then. */
export const lateBodies = fastifyPlugin<LateBodiesOptions>(
  async (app, { apiKeys, subjects, now }) => {
    app.decorateRequest('bodyAwaitedSince', 0)
    app.addHook('preParsing', (request, _reply, payload, done) => {
      request.bodyAwaitedSince = performance.now()
      done(null, payload)
    })
    app.addHook('preValidation', (request, _reply, done) => {
      const isLate = performance.now() - request.bodyAwaitedSince > LATE_MS
      if (!isLate || !request.credential) return done()
      judgeAgain(request, request.credential).then(() => done(), done)
    })

    async function judgeAgain(request: FastifyRequest, credential: Credential): Promise<void> {
      if (credential.kind === 'operator') return
      if (credential.kind === 'apiKey') {
        const stored = await apiKeys.findWithHash(credential.id)
        if (!stored || (stored.expiresAt && stored.expiresAt <= now())) throw revokedCredential()
        return
      }
      const { claims, subject: before, stepToken } = credential
      const subject = await subjects.findLiving(claims, stepToken?.jti)
      if (!subject || subject.stepToken?.isConsumed) throw revokedCredential()
      if (before.role === 'admin' && subject.role !== 'admin') throw new Problem('limited-access')
      request.credential = { ...credential, subject }
    }
  },
  { name: 'late-bodies', dependencies: ['credentials'] }
)
