// The limit of a user on the code routes. A spent share is a sign that another person has passed the first
// step: with the password, or through the identity provider.
import type { FastifyReply, FastifyRequest } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import type { Audit } from '../../audit/audit.ts'
import { noticeTo } from '../../core/mail/notices.ts'
import type { Subject } from '../../data/sign-in/subjects.ts'
import type { ActRecords } from '../../data/trail/act-records.ts'
import { Problem } from '../../wire/problem.ts'
import type { Limits } from '../limits.ts'

export interface UserLimitOptions {
  limits: Limits
  audit: Audit
  actRecords: ActRecords
}

/** Rejects a request whose user has no share left, before any further check. Counts nothing. */
export const userLimit = fastifyPlugin<UserLimitOptions>(
  async (app, { limits }) => {
    app.addHook('onRequest', async (request, reply) => {
      const subject = limitedSubject(request)
      if (subject) await limits.requireUserShare(request, reply, subject.userId)
    })
  },
  { name: 'user-limit', dependencies: ['bearer-tokens'] }
)

/**
 * Counts a valid request against the share of its user, after the check of its body: a malformed one costs nothing but a
 * request of its address.
 */
export const userShare = fastifyPlugin<UserLimitOptions>(
  async (app, { limits, audit, actRecords }) => {
    app.addHook('preHandler', async (request, reply) => {
      const subject = limitedSubject(request)
      if (subject) await spend(request, reply, subject)
    })

    async function spend(
      request: FastifyRequest,
      reply: FastifyReply,
      subject: Subject
    ): Promise<void> {
      try {
        await limits.spendUserShare(request, reply, subject.userId)
      } catch (error) {
        if (error instanceof Problem && error.code === 'rate-limited')
          await record(request, subject)
        throw error
      }
    }

    async function record(request: FastifyRequest, subject: Subject): Promise<void> {
      const due = await limits.noteSpentShare(request, subject.userId)
      if (!due.event) return
      const event = audit.refusalOf(request, 'rate-limited')
      const notice = noticeTo(subject, event, 'many_second_steps', {})
      await actRecords.record(event, due.mail ? [notice] : [])
    }
  },
  { name: 'user-share', dependencies: ['user-limit'] }
)

function limitedSubject({ credential, routeOptions }: FastifyRequest): Subject | null {
  if (routeOptions.config.limit !== 'codes' || !credential) return null
  return 'subject' in credential ? credential.subject : null
}
