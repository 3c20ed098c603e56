// The decision as a table: every combination of mandate, policy, user and way of sign-in, with its outcome.
import { type AccountPolicy, decide, type Mandate } from '../../core/policy.ts'

const NOW = new Date('2026-06-15T12:00:00.000Z')
const PAST = new Date('2026-06-10T12:00:00.000Z')
const FUTURE = new Date('2026-06-20T12:00:00.000Z')

const OPTIONAL: AccountPolicy = {
  twoFactor: 'optional',
  requiredFrom: null,
  requiredSince: null,
  graceDays: 0,
  trustedDevices: { allowed: true, days: 30 },
  sso: { mode: 'optional', issuer: 'https://login.example.com', clientId: 'client' }
}
const REQUIRED = { ...OPTIONAL, twoFactor: 'required', requiredSince: PAST } as const

const mandateFrom = (requiredFrom: Date): Mandate => {
  return { requiredFrom, reason: null, source: 'account' }
}

export const MANDATES: [name: string, Mandate | null][] = [
  ['none', null],
  ['from a later date', mandateFrom(FUTURE)],
  ['in force', mandateFrom(PAST)]
]
export const POLICIES: [name: string, AccountPolicy][] = [
  ['optional', OPTIONAL],
  ['required from a later date', { ...REQUIRED, requiredFrom: FUTURE }],
  ['required, in grace', { ...REQUIRED, graceDays: 7 }],
  ['required', REQUIRED]
]
export const USERS: [name: string, hasAuthenticator: boolean][] = [
  ['without', false],
  ['with', true]
]
export const ARRIVALS = ['password', 'trusted device', 'single sign-on'] as const

const HEAD = ['mandate', 'account', 'authenticator', 'came by', 'outcome', 'reason', 'set-up']

/** Returns the table in Markdown. */
export function policyTable(): string {
  const rows = cases().map(({ names, decision }) => {
    const recommended = 'recommended' in decision && decision.recommended !== null
    return [...names, decision.outcome, decision.reason, recommended ? 'recommended' : '']
  })
  const lines = [HEAD, HEAD.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`)
  return `${lines.join('\n')}\n`
}

/** Returns every combination by its names, with the decision. */
export function cases() {
  return MANDATES.flatMap(([mandateName, mandate]) =>
    POLICIES.flatMap(([policyName, policy]) =>
      USERS.flatMap(([userName, hasAuthenticator]) =>
        ARRIVALS.map((came) => ({
          names: [mandateName, policyName, userName, came],
          decision: decide({
            mandate,
            policy,
            user: { hasAuthenticator },
            now: NOW,
            arrival: came === 'single sign-on' ? 'sso' : 'password',
            hasTrustedDevice: came === 'trusted device'
          })
        }))
      )
    )
  )
}
