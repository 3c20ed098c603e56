import t from 'tap'
import { type Decision, decide, isTwoFactorRequired } from '../../src/core/policy.ts'

const POLICIES = ['optional', 'required'] as const

/** What a sign-in still owes after the password, from nothing upwards. */
const DEMANDS = {
  ...{ authenticated: 0, enrollment_required: 1, verification_required: 1 }
} satisfies Record<Decision['outcome'], number>

const TABLE: [(typeof POLICIES)[number], boolean, Decision][] = [
  ['optional', false, { outcome: 'authenticated', reason: 'not_required' }],
  ['optional', true, { outcome: 'verification_required', reason: 'user_enabled' }],
  ['required', false, { outcome: 'enrollment_required', reason: 'account_required' }],
  ['required', true, { outcome: 'verification_required', reason: 'account_required' }]
]

t.test('every case has its outcome and its reason', async (t) => {
  for (const [twoFactor, hasAuthenticator, decision] of TABLE) {
    t.strictSame(
      decide({ policy: { twoFactor }, user: { hasAuthenticator } }),
      decision,
      `${twoFactor}, ${hasAuthenticator ? 'with' : 'without'} an authenticator`
    )
  }
  t.equal(TABLE.length, POLICIES.length * 2, 'and the table is whole')
})

t.test(
  'an account that requires two factors never demands less than one that does not',
  async (t) => {
    for (const hasAuthenticator of [false, true]) {
      const [optional, required] = POLICIES.map(
        (twoFactor) =>
          DEMANDS[decide({ policy: { twoFactor }, user: { hasAuthenticator } }).outcome]
      )
      t.ok(Number(required) >= Number(optional))
      t.ok(Number(required) > 0, 'and never lets a password alone in')
    }
  }
)

t.test('who has an authenticator is asked for it under every policy', async (t) => {
  for (const twoFactor of POLICIES) {
    const { outcome } = decide({ policy: { twoFactor }, user: { hasAuthenticator: true } })
    t.equal(outcome, 'verification_required')
  }
})

t.test('only "required" is a duty', async (t) => {
  t.strictSame(
    POLICIES.map((twoFactor) => isTwoFactorRequired({ twoFactor })),
    [false, true]
  )
})
