// The account policy, as it is read, changed and previewed.
import { type Static, Type } from 'typebox'
import { MandateAnswer } from './mandate.ts'
import { Email, Instant, Nullable, TwoFactorPolicy, Uuid } from './scalars.ts'
import { Issuer } from './sso.ts'
import { Support } from './support.ts'

const GraceDays = Type.Integer({
  minimum: 0,
  maximum: 365,
  description:
    'Grace period in days after `requiredFrom`: users may still sign in without two-factor.'
})
const DeviceDays = Type.Integer({ minimum: 1, maximum: 365 })
const AppliesTo = Type.Enum(['everyone', 'admins'], {
  description:
    'Whom `twoFactor: "required"` binds. A mandate binds everyone. A new role counts from the next sign-in.'
})
const Mode = Type.Enum(['off', 'optional', 'required'], {
  description:
    '`off`: no single sign-on. `optional`: users sign in with a password or by single sign-on. `required`: users cannot sign in with a password.'
})
const ClientId = Type.String({
  minLength: 1,
  maxLength: 255,
  pattern: '^[\\u0021-\\u007e]+$',
  examples: ['twostep-acme']
})
const TrustEmail = Type.Boolean({
  description:
    'Whether e-mail addresses of the provider count as verified although its tokens do not say so. Choose this only for a provider that gives its addresses out itself. An address of which a token says that it is not verified never counts.'
})
const RequiredFrom = Nullable(
  Type.String({ ...Instant, description: 'When the requirement starts. Null means immediately.' })
)

export const PolicyBody = Type.Object(
  {
    twoFactor: Type.Optional(TwoFactorPolicy),
    appliesTo: Type.Optional(AppliesTo),
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
          clientId: Type.Optional(Nullable(ClientId)),
          trustEmail: Type.Optional(TrustEmail)
        },
        { additionalProperties: false }
      )
    )
  },
  { title: 'PolicyChange', additionalProperties: false }
)
export type PolicyBody = Static<typeof PolicyBody>

export const PolicyAnswer = Type.Object(
  {
    twoFactor: TwoFactorPolicy,
    appliesTo: AppliesTo,
    requiredFrom: RequiredFrom,
    graceDays: GraceDays,
    trustedDevices: Type.Object({ allowed: Type.Boolean(), days: DeviceDays }),
    sso: Type.Object({
      mode: Mode,
      issuer: Nullable(Issuer),
      clientId: Nullable(ClientId),
      trustEmail: TrustEmail
    }),
    mandate: MandateAnswer,
    support: Nullable(Support),
    effective: Type.Enum(['optional', 'required'], {
      description:
        'The requirement that applies now, under the policy and the mandate. A policy binds only the users that `appliesTo` names.'
    }),
    updatedAt: Instant
  },
  { title: 'Policy' }
)

export const PreviewAnswer = Type.Object(
  {
    wouldEnroll: Type.Integer({ description: 'Users who would have to set up two-factor.' }),
    exempt: Type.Integer({ description: 'Users whose single sign-on replaces the code.' }),
    unaffected: Type.Integer({ description: 'All other users.' }),
    from: Nullable(
      Type.String({
        ...Instant,
        description: 'When the set-up would become mandatory, or null if nothing is required.'
      })
    ),
    sample: Type.Optional(
      Type.Array(Type.Object({ id: Uuid, email: Email }, { title: 'AffectedUser' }), {
        description:
          'The first users who would have to set up two-factor, oldest first. Absent for an API key without the scope `users:read`.'
      })
    )
  },
  { title: 'PolicyPreview' }
)
