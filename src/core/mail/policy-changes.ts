// The changes between two policies, in a form that a mail can show.
import type { AccountPolicy } from '../policy.ts'

/** A field that has another value now. Values are texts. */
export interface PolicyChange {
  field: string
  from: string
  to: string
}

/** Returns the fields with another value, except those of single sign-on, whose changes have a notice of their own. */
export function policyChanges(before: AccountPolicy, after: AccountPolicy): PolicyChange[] {
  const [was, is] = [before, after].map(textsOf)
  return [...(is ?? [])].flatMap(([field, to]) => {
    const from = was?.get(field) ?? 'none'
    return from === to ? [] : [{ field, from, to }]
  })
}

/** Returns the members of a policy as texts, with names such as `trustedDevices.days`. */
function textsOf({ sso: _sso, requiredSince: _since, ...policy }: AccountPolicy) {
  const members = Object.entries(policy).flatMap(([name, value]: [string, unknown]) =>
    isGroup(value)
      ? Object.entries(value).map(([member, of]) => [`${name}.${member}`, of] as const)
      : [[name, value] as const]
  )
  return new Map(members.map(([name, value]) => [name, textOf(value)]))
}

function isGroup(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !(value instanceof Date)
}

function textOf(value: unknown): string {
  return value instanceof Date ? value.toISOString() : String(value ?? 'none')
}
