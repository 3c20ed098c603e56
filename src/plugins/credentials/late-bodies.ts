// A credential is checked before the body is read, and the client decides when it sends the body. Without this second
// check, a client could start a request with a valid token, hold it open while the token is revoked, and finish it later.
import type { FastifyRequest } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import type { ApiKeys } from '../../data/accounts/api-keys.ts'
import type { Subjects } from '../../data/sign-in/subjects.ts'
import { Problem, revokedCredential } from '../../wire/problem.ts'
import type { Credential } from '../credentials.ts'

/** A body of at most 16 KiB usually arrives with its headers or right behind them. Only a slow client takes longer. */
export const LATE_BODY_MS = 250

declare module 'fastify' {
  interface FastifyRequest {
    /** When the body began to be read, in milliseconds of a monotonic clock. */
    bodyAwaitedSince: number
  }
}

export interface LateBodiesOptions {
  apiKeys: ApiKeys
  subjects: Subjects
  /** After how long a body is late. */
  lateBodyMs: number
  now: () => Date
}

/** Checks a credential again after a late body, by the rows as they are then. */
export const lateBodies = fastifyPlugin<LateBodiesOptions>(
  async (app, { apiKeys, subjects, lateBodyMs, now }) => {
    app.decorateRequest('bodyAwaitedSince', 0)
    app.addHook('preParsing', (request, _reply, payload, done) => {
      request.bodyAwaitedSince = performance.now()
      done(null, payload)
    })
    app.addHook('preValidation', (request, _reply, done) => {
      const isLate = performance.now() - request.bodyAwaitedSince > lateBodyMs
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
      const subject = await subjects.findTokenOwner(claims, stepToken?.jti)
      if (!subject || subject.stepToken?.isConsumed) throw revokedCredential()
      if (before.role === 'admin' && subject.role !== 'admin') throw new Problem('limited-access')
      request.credential = { ...credential, subject }
    }
  },
  { name: 'late-bodies', dependencies: ['bearer-tokens'] }
)
