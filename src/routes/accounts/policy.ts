// What an account demands of its users. Nobody changes it unseen: every change names the version it was made from.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply } from 'fastify'
import { type Static, Type } from 'typebox'
import type { Audit } from '../../audit/audit.ts'
import type { AuditDetails } from '../../core/audit/events.ts'
import { isMatchedBy, strongEtag } from '../../core/etags.ts'
import {
  type AccountPolicy,
  enforcedFrom,
  isGraceWritable,
  isPolicyLocked,
  isTwoFactorRequired,
  missingForSso,
  type PolicyPatch,
  patchedPolicy
} from '../../core/policy.ts'
import type { Policies, StoredPolicy } from '../../data/policy/policies.ts'
import type { CredentialRule } from '../../plugins/credentials.ts'
import { MandateAnswer, mandateAnswer } from '../../wire/mandate.ts'
import { invalidMember, Problem, unavailable } from '../../wire/problem.ts'
import { Email, Instant, instantOf, Nullable, TwoFactorPolicy, Uuid } from '../../wire/scalars.ts'

export interface PolicyOptions {
  policies: Policies
  audit: Audit
  now: () => Date
}

const CHANGERS = {
  apiKey: ['policy:write'],
  accessToken: { holder: 'admin', fresh: 'second-factor' }
} as const satisfies CredentialRule

const GraceDays = Type.Integer({
  minimum: 0,
  maximum: 365,
  description: 'Days after `requiredFrom` in which nobody is held up for the set-up.'
})
const DeviceDays = Type.Integer({ minimum: 1, maximum: 365 })
const Mode = Type.Enum(['off', 'optional', 'required'], {
  description: '`required` closes the password door.'
})
/**
 * Of the characters of URLs (RFC 3986) those that an issuer may have, so no query, fragment or user. Compared with the
 * `iss` of ID tokens to the letter; whether it may be asked is decided when it is.
 */
const Issuer = Type.String({
  maxLength: 500,
  pattern: "^https?://[A-Za-z0-9\\[][A-Za-z0-9._~:/\\[\\]!$&'()*+,;=%-]*$",
  examples: ['https://login.acme.example']
})
const ClientId = Type.String({ minLength: 1, maxLength: 255, pattern: '^[\\u0021-\\u007e]+$' })
const RequiredFrom = Nullable(
  Type.String({ ...Instant, description: 'From when it is required; null for at once.' })
)

const PolicyBody = Type.Object(
  {
    twoFactor: Type.Optional(TwoFactorPolicy),
    requiredFrom: Type.Optional(RequiredFrom),
    graceDays: Type.Optional(GraceDays),
    trustedDevices: Type.Optional(
      Type.Object(
        { allowed: Type.Optional(Type.Boolean()), days: Type.Optional(DeviceDays) },
        { additionalProperties: false }
      )
    ),
    sso: Type.Optional(
      Type.Object(
        {
          mode: Type.Optional(Mode),
          issuer: Type.Optional(Nullable(Issuer)),
          clientId: Type.Optional(Nullable(ClientId))
        },
        { additionalProperties: false }
      )
    )
  },
  { additionalProperties: false }
)
type PolicyBody = Static<typeof PolicyBody>

const PolicyAnswer = Type.Object({
  twoFactor: TwoFactorPolicy,
  requiredFrom: RequiredFrom,
  graceDays: GraceDays,
  trustedDevices: Type.Object({ allowed: Type.Boolean(), days: DeviceDays }),
  sso: Type.Object({ mode: Mode, issuer: Nullable(Issuer), clientId: Nullable(ClientId) }),
  mandate: MandateAnswer,
  effective: Type.Enum(['optional', 'required'], { description: 'What holds now, all told.' }),
  updatedAt: Instant
})

const PreviewAnswer = Type.Object({
  wouldEnroll: Type.Integer({ description: 'Users who would be led through the set-up.' }),
  exempt: Type.Integer({ description: 'Users for whom single sign-on stands in for the code.' }),
  unaffected: Type.Integer({ description: 'Everybody else.' }),
  from: Nullable(
    Type.String({ ...Instant, description: 'From when on; null where nothing is demanded.' })
  ),
  sample: Type.Array(Type.Object({ id: Uuid, email: Email }), {
    description: 'The first of those who would have to enrol.'
  })
})

const ETagHeader = {
  ETag: { type: 'string', description: 'Strong; send it in `If-Match` to change the policy.' }
}
const PATCH_TYPES = ['application/json', 'application/merge-patch+json']

/** A change that is made for whichever version there is gives way to so many others. */
const RACES_MAX = 10

const policy: FastifyPluginAsyncTypebox<PolicyOptions> = async (app, { policies, audit, now }) => {
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
      const { accountId } = request.credentialOf('apiKey', 'accessToken')
      return answer(reply, await policies.find(accountId))
    }
  )

  app.patch(
    '/v1/policy',
    {
      config: {
        limit: 'address',
        act: 'policy.change',
        credentials: CHANGERS,
        problems: ['precondition-required', 'etag-mismatch', 'policy-locked']
      },
      schema: {
        operationId: 'changePolicy',
        summary: 'Change the account policy',
        description:
          'A merge patch (RFC 7396) from the version that `If-Match` names. While a mandate of the operator holds, `twoFactor`, `requiredFrom` and `graceDays` are locked. The identity provider is not asked.',
        tags: ['Policy'],
        consumes: PATCH_TYPES,
        headers: Type.Object({ 'if-match': Type.Optional(Type.String()) }),
        body: PolicyBody,
        response: { 200: { ...PolicyAnswer, headers: ETagHeader } }
      }
    },
    async (request, reply) => {
      const { accountId } = request.credentialOf('apiKey', 'accessToken')
      const patch = patchOf(request.body)
      const ifMatch = request.headers['if-match']
      if (ifMatch === undefined) throw new Problem('precondition-required')
      for (let race = 0; race < RACES_MAX; race += 1) {
        const before = await policies.find(accountId)
        const after = patched(before, patch, now())
        if (!isMatchedBy(ifMatch, etagOf(before, now()))) throw new Problem('etag-mismatch')
        const event = audit.succeeded(request, {
          target: { kind: 'policy', id: accountId },
          details: { ...changesOf(request.body), version: before.version + 1 }
        })
        const stored = await policies.replace(before, after, event)
        // Whoever lost is told so by the next read, but for `*`, which is true of every version.
        if (stored) return answer(reply, stored)
      }
      throw unavailable()
    }
  )

  app.post(
    '/v1/policy/preview',
    {
      config: {
        limit: 'address',
        act: 'policy.preview',
        credentials: CHANGERS,
        problems: ['policy-locked']
      },
      schema: {
        operationId: 'previewPolicy',
        summary: 'Say whom a change of the policy would reach',
        description: 'Takes what `PATCH /v1/policy` takes, and changes nothing.',
        tags: ['Policy'],
        consumes: PATCH_TYPES,
        body: PolicyBody,
        response: { 200: PreviewAnswer }
      }
    },
    async (request) => {
      const { accountId } = request.credentialOf('apiKey', 'accessToken')
      const patch = patchOf(request.body)
      const before = await policies.find(accountId)
      const demands = { ...before, policy: patched(before, patch, now()) }
      const from = enforcedFrom(demands)?.toISOString() ?? null
      return { ...(await policies.reach(accountId, demands)), from }
    }
  )

  /** The tag and the body are of one instant: what a date changes, it changes in both. */
  function answer(reply: FastifyReply, stored: StoredPolicy) {
    const at = now()
    return reply.header('etag', etagOf(stored, at)).send(asAnswer(stored, at))
  }
}

export default policy

/** The policy after the patch. Throws where the patch leaves no sound one, or touches what a mandate has locked. */
function patched(before: StoredPolicy, patch: PolicyPatch, now: Date): AccountPolicy {
  requireUnlocked(before, patch, now)
  const after = patchedPolicy(before.policy, patch, now)
  const missing = missingForSso(after)
  if (missing) throw invalidMember(`/sso/${missing}`, 'is required while single sign-on is on')
  if (!isGraceWritable(after)) throw invalidMember('/graceDays', 'must end before the year 10000')
  return after
}

function requireUnlocked({ mandate }: StoredPolicy, patch: PolicyPatch, now: Date): void {
  const names = (['twoFactor', 'requiredFrom', 'graceDays'] as const).filter(
    (name) => name in patch
  )
  if (!mandate || names.length === 0 || !isPolicyLocked({ mandate, now })) return
  const { reason, source } = mandate
  const requiredFrom = mandate.requiredFrom.toISOString()
  throw new Problem('policy-locked', {
    detail: `The operator requires two-factor of this account since ${requiredFrom}${reason === null ? '' : `: ${reason}`}.`,
    extras: { mandate: { requiredFrom, reason, source } }
  })
}

/** Throws `invalid-request` for what the schema lets through and is no instant or no URL. */
function patchOf({ requiredFrom, ...rest }: PolicyBody): PolicyPatch {
  const issuer = rest.sso?.issuer
  if (issuer && !URL.canParse(issuer)) throw invalidMember('/sso/issuer', 'must be a URL')
  if (requiredFrom === undefined) return rest
  return {
    ...rest,
    requiredFrom: requiredFrom === null ? null : instantOf(requiredFrom, '/requiredFrom')
  }
}

/** Flat, as the record keeps it: `sso.mode`, not an object in an object. */
function changesOf({ trustedDevices = {}, sso = {}, ...rest }: PolicyBody): AuditDetails {
  const within = (name: string, members: object) =>
    Object.entries(members).map(([member, value]) => [`${name}.${member}`, value] as const)
  return Object.fromEntries([
    ...Object.entries(rest),
    ...within('trustedDevices', trustedDevices),
    ...within('sso', sso)
  ])
}

/** Of all that is shown, since a mandate and a date change it without a new version. */
function etagOf(stored: StoredPolicy, now: Date): string {
  return strongEtag({ ...asAnswer(stored, now), version: stored.version })
}

function asAnswer({ policy, mandate, updatedAt }: StoredPolicy, now: Date) {
  const { requiredSince: _since, ...shown } = policy
  const isRequired = isTwoFactorRequired({ policy, mandate, now })
  return {
    ...shown,
    requiredFrom: policy.requiredFrom?.toISOString() ?? null,
    mandate: mandateAnswer(mandate, now),
    effective: isRequired ? ('required' as const) : ('optional' as const),
    updatedAt: updatedAt.toISOString()
  }
}
