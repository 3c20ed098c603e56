// The policy of an account. Every change names the version that it was made from, so that no admin overwrites the change
// of another admin unseen.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
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
import type { Credential, CredentialRule } from '../../plugins/credentials.ts'
import { mandateAnswer } from '../../wire/mandate.ts'
import { PolicyAnswer, PolicyBody, PreviewAnswer } from '../../wire/policy.ts'
import { invalidMember, Problem, supportIn, unavailable } from '../../wire/problem.ts'
import { instantOf } from '../../wire/scalars.ts'
import { actorOf, refusedAct } from '../actors.ts'
import type { ReplyOf, RequestOf, RouteDefinition } from '../definitions.ts'
import { hasScope, requireScopes } from '../scopes.ts'

interface PolicyOptions {
  policies: Policies
  audit: Audit
  now: () => Date
}

const POLICY_WRITERS = {
  apiKey: ['policy:write'],
  accessToken: { holder: 'admin', fresh: 'second-factor' }
} as const satisfies CredentialRule

const ETAG_HEADER = {
  ETag: {
    type: 'string',
    description: 'A strong tag of the policy. Send it in `If-Match` to change the policy.'
  }
}
const PATCH_TYPES = ['application/json', 'application/merge-patch+json']

/** With `If-Match: *`, a change retries after a lost race. Only continuous writes by others exhaust so many retries. */
const RACES_MAX = 10

const GET_POLICY = {
  config: {
    limit: 'address',
    act: 'policy.read',
    credentials: { apiKey: ['policy:read'], accessToken: { holder: 'anyone' } }
  },
  schema: {
    operationId: 'getPolicy',
    summary: 'Read the account policy',
    description:
      'Returns the policy of the account, the mandate of the operator, the requirement that applies now and the support contact.',
    tags: ['Policy'],
    response: { 200: { ...PolicyAnswer, headers: ETAG_HEADER } }
  }
} as const satisfies RouteDefinition

const CHANGE_POLICY = {
  config: {
    limit: 'address',
    act: 'policy.change',
    credentials: POLICY_WRITERS,
    problems: ['precondition-required', 'etag-mismatch', 'policy-locked']
  },
  schema: {
    operationId: 'changePolicy',
    summary: 'Change the account policy',
    description:
      'Applies a merge patch (RFC 7396) to the version of the policy that `If-Match` names. Admins are notified of changed values by e-mail, users if they have to set up two-factor, and a change of `twoFactor`, `appliesTo`, `trustedDevices` or `sso.mode` revokes all trusted devices. A mandate in force locks `twoFactor`, `requiredFrom` and `graceDays`; the identity provider is never contacted. An API key that names a member of `sso` needs the scope `sso:write` too.',
    tags: ['Policy'],
    consumes: PATCH_TYPES,
    headers: Type.Object({ 'if-match': Type.Optional(Type.String()) }),
    body: PolicyBody,
    response: { 200: { ...PolicyAnswer, headers: ETAG_HEADER } }
  }
} as const satisfies RouteDefinition

const PREVIEW_POLICY = {
  config: {
    limit: 'address',
    act: 'policy.preview',
    credentials: POLICY_WRITERS,
    problems: ['policy-locked']
  },
  schema: {
    operationId: 'previewPolicy',
    summary: 'Preview a policy change',
    description:
      'Counts the users whom a change of the policy would affect. Takes the same body as `PATCH /v1/policy`, needs the same scopes and changes nothing. An API key sees the `sample` only with the scope `users:read`.',
    tags: ['Policy'],
    consumes: PATCH_TYPES,
    body: PolicyBody,
    response: { 200: PreviewAnswer }
  }
} as const satisfies RouteDefinition

const policyRoutes: FastifyPluginAsyncTypebox<PolicyOptions> = async (
  app,
  { policies, audit, now }
) => {
  app.addContentTypeParser(
    'application/merge-patch+json',
    { parseAs: 'string' },
    app.getDefaultJsonParser('error', 'error')
  )

  app.get('/v1/policy', GET_POLICY, getPolicy)
  app.patch('/v1/policy', CHANGE_POLICY, changePolicy)
  app.post('/v1/policy/preview', PREVIEW_POLICY, previewPolicy)

  async function getPolicy(
    request: RequestOf<typeof GET_POLICY>,
    reply: ReplyOf<typeof GET_POLICY>
  ) {
    const { accountId } = request.credentialOf('apiKey', 'accessToken')
    const stored = await policies.find(accountId)
    const { etag, body } = shownAt(now(), stored)
    return reply.header('etag', etag).send(body)
  }

  async function changePolicy(
    request: RequestOf<typeof CHANGE_POLICY>,
    reply: ReplyOf<typeof CHANGE_POLICY>
  ) {
    const credential = request.credentialOf('apiKey', 'accessToken')
    requireSsoScope(credential, request.body)
    const { accountId } = credential
    const patch = patchOf(request.body)
    const ifMatch = request.headers['if-match']
    if (ifMatch === undefined) throw new Problem('precondition-required')
    for (let race = 0; race < RACES_MAX; race += 1) {
      const before = await policies.find(accountId)
      const after = applyPatch(before, patch, now())
      if (!isMatchedBy(ifMatch, shownAt(now(), before).etag)) throw new Problem('etag-mismatch')
      const details = { ...changesOf(request.body), version: before.version + 1 }
      const target = { kind: 'policy', id: accountId } as const
      const event = audit.succeeded(request, { target, details })
      const outcome = await policies.replace(before, after, actorOf(credential), event)
      // After a lost race the next read fails the comparison above, except with `*`, which matches every version.
      if (outcome === 'lost-race') continue
      if (typeof outcome === 'string') throw refusedAct(outcome)
      const { etag, body } = shownAt(now(), outcome)
      return reply.header('etag', etag).send(body)
    }
    throw unavailable()
  }

  async function previewPolicy(request: RequestOf<typeof PREVIEW_POLICY>) {
    const credential = request.credentialOf('apiKey', 'accessToken')
    requireSsoScope(credential, request.body)
    const { accountId } = credential
    const patch = patchOf(request.body)
    const before = await policies.find(accountId)
    const demands = { ...before, policy: applyPatch(before, patch, now()) }
    const from = enforcedFrom(demands)?.toISOString() ?? null
    const { sample, ...counts } = await policies.countReach(accountId, demands)
    return { ...counts, from, ...(hasScope(credential, 'users:read') ? { sample } : {}) }
  }
}

export default policyRoutes

/** The identity provider of an account can sign in every user, admins included, so it needs a scope of its own. */
function requireSsoScope(credential: Credential, { sso = {} }: PolicyBody): void {
  if (Object.keys(sso).length > 0) requireScopes(credential, ['sso:write'])
}

/** Returns the policy after the patch. Throws if the result is inconsistent or if a mandate has locked a patched field. */
function applyPatch(before: StoredPolicy, patch: PolicyPatch, now: Date): AccountPolicy {
  requireUnlocked(before, patch, now)
  const after = patchedPolicy(before.policy, patch, now)
  const missing = missingForSso(after)
  if (missing) throw invalidMember(`/sso/${missing}`, 'is required while single sign-on is on')
  if (!isGraceWritable(after)) throw invalidMember('/graceDays', 'must end before the year 10000')
  return after
}

function requireUnlocked({ mandate, support }: StoredPolicy, patch: PolicyPatch, now: Date): void {
  const names = (['twoFactor', 'requiredFrom', 'graceDays'] as const).filter(
    (name) => name in patch
  )
  if (!mandate || names.length === 0 || !isPolicyLocked({ mandate, now })) return
  const { reason, source } = mandate
  const requiredFrom = mandate.requiredFrom.toISOString()
  throw new Problem('policy-locked', {
    detail: `The operator requires two-factor for this account since ${requiredFrom}${reason === null ? '' : `: ${reason}`}.`,
    extras: { mandate: { requiredFrom, reason, source }, ...supportIn({ support }).extras }
  })
}

/** Returns the patch in the types of the policy. Throws `invalid-request` for an instant or a URL that does not exist. */
function patchOf({ requiredFrom, ...rest }: PolicyBody): PolicyPatch {
  const issuer = rest.sso?.issuer
  if (issuer && !URL.canParse(issuer)) throw invalidMember('/sso/issuer', 'must be a URL')
  if (requiredFrom === undefined) return rest
  return {
    ...rest,
    requiredFrom: requiredFrom === null ? null : instantOf(requiredFrom, '/requiredFrom')
  }
}

/** Returns the changes as the audit trail stores them: flat, with names such as `sso.mode`. */
function changesOf({ trustedDevices = {}, sso = {}, ...rest }: PolicyBody): AuditDetails {
  const within = (name: string, members: object) =>
    Object.entries(members).map(([member, value]) => [`${name}.${member}`, value] as const)
  return Object.fromEntries([
    ...Object.entries(rest),
    ...within('trustedDevices', trustedDevices),
    ...within('sso', sso)
  ])
}

/**
 * Returns the body of a response and its tag, both for the same instant, because a date can change the body. The tag
 * covers the whole body, because a mandate or a date changes it without a new version.
 */
function shownAt(now: Date, stored: StoredPolicy) {
  const body = asAnswer(stored, now)
  return { body, etag: strongEtag({ ...body, version: stored.version }) }
}

function asAnswer({ policy, mandate, support, updatedAt }: StoredPolicy, now: Date) {
  const { requiredSince: _requiredSince, ...shown } = policy
  const { since: _ssoSince, ...sso } = policy.sso
  const isRequired = isTwoFactorRequired({ policy, mandate, now })
  return {
    ...shown,
    sso,
    requiredFrom: policy.requiredFrom?.toISOString() ?? null,
    mandate: mandateAnswer(mandate, now),
    support,
    effective: isRequired ? ('required' as const) : ('optional' as const),
    updatedAt: updatedAt.toISOString()
  }
}
