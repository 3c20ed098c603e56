// The fields of an account: how requests name them, and how responses show them.
import { type Static, Type } from 'typebox'
import { issuerOf } from '../../core/totp.ts'
import type { Account, AccountChange } from '../../data/accounts/accounts.ts'
import { invalidMember } from '../../wire/problem.ts'
import {
  AccountName,
  Audience,
  Email,
  Instant,
  IssuerName,
  Name,
  Nullable,
  Slug,
  Uuid
} from '../../wire/scalars.ts'
import { Support } from '../../wire/support.ts'

/** People open the page, so it has one of the schemes of pages. */
const SupportUrl = Type.String({
  maxLength: 500,
  pattern: '^https?://[\\u0021-\\u007e]+$',
  examples: ['https://acme.example/help']
})

const SupportBody = Type.Object(
  { url: Type.Optional(Nullable(SupportUrl)), email: Type.Optional(Nullable(Email)) },
  {
    title: 'SupportChange',
    additionalProperties: false,
    description:
      'Where users get help. Absent fields stay as they are. Null for both: the contact of the deployment, if it has one.'
  }
)

const OptionalFields = {
  audience: Type.Optional(Audience),
  issuerName: Type.Optional(
    Type.Union([IssuerName, Type.Null()], {
      description: 'The issuer that authenticator apps show. Null: derived from the name.'
    })
  ),
  support: Type.Optional(Nullable(SupportBody))
}

export const NewAccountBody = Type.Object(
  { slug: Slug, name: AccountName, ...OptionalFields },
  { title: 'NewAccount', additionalProperties: false }
)

export const AccountChangeBody = Type.Object(
  { name: Type.Optional(AccountName), ...OptionalFields },
  { title: 'AccountChange', additionalProperties: false, minProperties: 1 }
)
type AccountChangeBody = Static<typeof AccountChangeBody>

export const AccountAnswer = Type.Object(
  {
    id: Uuid,
    slug: Slug,
    name: Name,
    audience: Audience,
    issuerName: Type.String({
      description:
        'The issuer that authenticator apps show. Without one of its own, it is the name.'
    }),
    support: Nullable(Support),
    createdAt: Instant
  },
  { title: 'Account' }
)

/** Returns the change that a body asks for. Throws `invalid-request` for a URL that does not exist. */
export function accountChangeOf({ support, ...fields }: AccountChangeBody): AccountChange {
  return { ...fields, ...supportChangeOf(support) }
}

function supportChangeOf(
  support: AccountChangeBody['support']
): Pick<AccountChange, 'supportUrl' | 'supportEmail'> {
  if (support === undefined) return {}
  if (support === null) return { supportUrl: null, supportEmail: null }
  const { url, email } = support
  if (url && !URL.canParse(url)) throw invalidMember('/support/url', 'must be a URL')
  return {
    ...(url === undefined ? {} : { supportUrl: url }),
    ...(email === undefined ? {} : { supportEmail: email })
  }
}

export function accountAnswer(account: Account): Static<typeof AccountAnswer> {
  const { id, slug, name, audience, createdAt } = account
  const { supportUrl: url, supportEmail: email } = account
  return {
    id,
    slug,
    name,
    audience,
    issuerName: issuerOf(account),
    support: url === null && email === null ? null : { url, email },
    createdAt: createdAt.toISOString()
  }
}
