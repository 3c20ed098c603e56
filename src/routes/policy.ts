// What an account demands of its users. Nobody changes it unseen: every change names the version it was made from.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { isMatchedBy, strongEtag } from '../core/etags.ts'
import { isTwoFactorRequired } from '../core/policy.ts'
import type { Policies, Policy } from '../data/policies.ts'
import type { Audit } from '../plugins/audit.ts'
import { Problem } from '../problems.ts'
import { Instant, TwoFactorPolicy } from '../schemas.ts'

export interface PolicyOptions {
  policies: Policies
  audit: Audit
}

const PolicyAnswer = Type.Object({
  twoFactor: TwoFactorPolicy,
  effective: Type.Enum(['optional', 'required'], { description: 'What holds now, all told.' }),
  updatedAt: Instant
})

const ETagHeader = {
  ETag: { type: 'string', description: 'Strong; send it in `If-Match` to change the policy.' }
}

const policy: FastifyPluginAsyncTypebox<PolicyOptions> = async (app, { policies, audit }) => {
  app.addContentTypeParser(
    'application/merge-patch+json',
    { parseAs: 'string' },
    app.getDefaultJsonParser('error', 'error')
  )

  app.get(
    '/v1/policy',
    {
      config: {
        limit: 'address',
        act: 'policy.read',
        credentials: { apiKey: ['policy:read'], accessToken: { holder: 'anyone' } }
      },
      schema: {
        operationId: 'getPolicy',
        summary: 'Read the account policy',
        tags: ['Policy'],
        response: { 200: { ...PolicyAnswer, headers: ETagHeader } }
      }
    },
    async (request, reply) => {
      const accountId = request.credentialOf('apiKey', 'accessToken').accountId
      const current = await policies.find(accountId)
      return reply.header('etag', strongEtag(current.version)).send(asAnswer(current))
    }
  )

  app.patch(
    '/v1/policy',
    {
      config: {
        limit: 'address',
        act: 'policy.change',
        credentials: {
          apiKey: ['policy:write'],
          accessToken: { holder: 'admin', fresh: 'second-factor' }
        },
        problems: ['precondition-required', 'etag-mismatch']
      },
      schema: {
        operationId: 'changePolicy',
        summary: 'Change the account policy',
        description: 'A merge patch (RFC 7396) from the version that `If-Match` names.',
        tags: ['Policy'],
        consumes: ['application/json', 'application/merge-patch+json'],
        headers: Type.Object({ 'if-match': Type.Optional(Type.String()) }),
        body: Type.Object(
          { twoFactor: Type.Optional(TwoFactorPolicy) },
          { additionalProperties: false }
        ),
        response: { 200: { ...PolicyAnswer, headers: ETagHeader } }
      }
    },
    async (request, reply) => {
      const accountId = request.credentialOf('apiKey', 'accessToken').accountId
      const ifMatch = request.headers['if-match']
      if (ifMatch === undefined) throw new Problem('precondition-required')
      const before = await policies.find(accountId)
      if (!isMatchedBy(ifMatch, before.version)) throw new Problem('etag-mismatch')
      const event = audit.succeeded(request, {
        target: { kind: 'policy', id: accountId },
        details: { ...request.body, version: before.version + 1 }
      })
      const changed = await policies.changeFrom(before, request.body, event)
      if (!changed) throw new Problem('etag-mismatch')
      return reply.header('etag', strongEtag(changed.version)).send(asAnswer(changed))
    }
  )
}

export default policy

function asAnswer({ twoFactor, updatedAt }: Policy) {
  const effective = isTwoFactorRequired({ twoFactor }) ? 'required' : 'optional'
  return { twoFactor, effective, updatedAt: updatedAt.toISOString() } as const
}
