// The policy decision as a table: every combination of mandate, account policy, user and first factor, with its decision.
import { type AccountPolicy, type DecisionInput, decide, type Mandate } from '../../core/policy.ts'

const NOW = new Date('2026-06-15T12:00:00.000Z')
const PAST = new Date('2026-06-10T12:00:00.000Z')
const FUTURE = new Date('2026-06-20T12:00:00.000Z')

const OPTIONAL: AccountPolicy = {
  twoFactor: 'optional',
  appliesTo: 'everyone',
  requiredFrom: null,
  requiredSince: null,
  graceDays: 0,
  trustedDevices: { allowed: true, days: 30 },
  sso: {
    mode: 'optional',
    issuer: 'https://login.example.com',
    clientId: 'client',
    trustEmail: false,
    since: null
  }
}
const REQUIRED = { ...OPTIONAL, twoFactor: 'required', requiredSince: PAST } as const

const MANDATES: [name: string, Mandate | null][] = [
  ['none', null],
  ['from a future date', mandateFrom(FUTURE)],
  ['in force', mandateFrom(PAST)]
]
const POLICIES: [name: string, AccountPolicy][] = [
  ['optional', OPTIONAL],
  ['required from a future date', { ...REQUIRED, requiredFrom: FUTURE }],
  ['required, in the grace period', { ...REQUIRED, graceDays: 7 }],
  ['required', REQUIRED]
]
const REQUIRED_OF_USER = { by: 'admin', since: PAST } as const
const USERS: [name: string, DecisionInput['user']][] = [
  ['none', user(false, null)],
  ['none, but this user must have one', user(false, REQUIRED_OF_USER)],
  ['none, after a reset', user(false, { by: 'reset', since: PAST })],
  ['active', user(true, null)],
  ['active, and this user must have one', user(true, REQUIRED_OF_USER)]
]
const FIRST_STEPS = ['password', 'password on a trusted device', 'single sign-on'] as const

const HEAD = [
  'operator’s mandate',
  'account policy',
  'authenticator',
  'first step',
  'status',
  'reason',
  'set-up'
]

/** Returns the table in Markdown. */
export function policyTable(): string {
  const rows = cases().map(({ names, decision }) => {
    const recommended = 'recommended' in decision && decision.recommended !== null
    return [...names, decision.outcome, decision.reason, recommended ? 'recommended' : '']
  })
  const lines = [HEAD, HEAD.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`)
  return `${lines.join('\n')}\n`
}

/** Returns every combination by its names, with the decision for it. */
export function cases() {
  return MANDATES.flatMap(([mandateName, mandate]) =>
    POLICIES.flatMap(([policyName, policy]) =>
      USERS.flatMap(([userName, user]) =>
        FIRST_STEPS.map((firstStep) => ({
          names: [mandateName, policyName, userName, firstStep],
          decision: decide({
            mandate,
            policy,
            user,
            now: NOW,
            arrival: firstStep === 'single sign-on' ? 'sso' : 'password',
            hasTrustedDevice: firstStep === 'password on a trusted device'
          })
        }))
      )
    )
  )
}

function mandateFrom(requiredFrom: Date): Mandate {
  return { requiredFrom, reason: null, source: 'account' }
}

function user(
  hasAuthenticator: boolean,
  requirement: DecisionInput['user']['requirement']
): DecisionInput['user'] {
  return { role: 'member', hasAuthenticator, requirement }
}
