// S1, S3, S5, S7: the service follows the contract for every sequence of acts. The contract is written here a second time,
// as a model of one user. fast-check generates the sequences and shortens a failing one.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { type EnrolledUser, ON_SERVER, startApp } from '../support/app.ts'
import type { Answer } from '../support/calls.ts'
import { verdictOf, WRONG_RECOVERY_CODE, wrongCode } from '../support/guesses.ts'
import { codeAt, timeStepAt } from '../support/rfc6238.ts'

/** Small, so that short sequences can disable a path. */
const BUDGET = { perStepToken: 3, beforeLock: 4, lockSeconds: 120, beforeDisabled: 10 }
const RUNS = process.env['TEST_ROUNDS'] === 'all' ? 100 : 25

const service = await startApp(t, {
  env: {
    CODE_ATTEMPTS_PER_STEP_TOKEN: String(BUDGET.perStepToken),
    CODE_ATTEMPTS_BEFORE_LOCK: String(BUDGET.beforeLock),
    CODE_LOCK_SECONDS: String(BUDGET.lockSeconds),
    CODE_ATTEMPTS_BEFORE_DISABLED: String(BUDGET.beforeDisabled)
  }
})
const { assertedToken, call, clock, database, enrolledUser, recover, verify } = service

/** An act of the user. `token` picks one of the tokens that the user has received, the newest first. */
type Act =
  | { act: 'sign in' }
  | { act: 'code'; which: 'before' | 'now' | 'after' | 'used' | 'wrong'; token: number }
  | { act: 'recovery code'; which: 'unused' | 'used' | 'wrong'; token: number }
  | { act: 'regenerate'; token: number }
  | { act: 'wait'; seconds: number }

const token = fc.integer({ min: 0, max: 5 })
const ACT: fc.Arbitrary<Act> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ act: fc.constant('sign in' as const) }) },
  {
    weight: 8,
    arbitrary: fc.record({
      act: fc.constant('code' as const),
      which: fc.constantFrom('wrong', 'wrong', 'now', 'before', 'after', 'used'),
      token
    })
  },
  {
    weight: 4,
    arbitrary: fc.record({
      act: fc.constant('recovery code' as const),
      which: fc.constantFrom('wrong', 'wrong', 'unused', 'used'),
      token
    })
  },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('regenerate' as const), token }) },
  {
    weight: 4,
    arbitrary: fc.record({
      act: fc.constant('wait' as const),
      seconds: fc.constantFrom(1, 29, 30, 60, 119, 120, 300, 600)
    })
  }
)

/** Acts of a user who only guesses and waits for the lock to end. A disabled path needs many guesses. */
const GUESS: fc.Arbitrary<Act> = fc.oneof(
  { weight: 2, arbitrary: fc.constant({ act: 'sign in' } as const) },
  { weight: 5, arbitrary: fc.constant({ act: 'code', which: 'wrong', token: 0 } as const) },
  { weight: 1, arbitrary: fc.constant({ act: 'wait', seconds: BUDGET.lockSeconds } as const) }
)
const ACTS = fc.tuple(
  fc.array(GUESS, { maxLength: 40, size: 'max' }),
  fc.array(ACT, { maxLength: 40, size: 'max' })
)

/** Ten wrong codes with two locks, a right code and a recovery code on the disabled path, and a stale sign-in. */
const WORST: [Act[], Act[]] = [
  [3, 1, 3, 1, 2].flatMap((wrongCodes, index): Act[] => [
    { act: 'sign in' },
    ...Array<Act>(wrongCodes).fill({ act: 'code', which: 'wrong', token: 0 }),
    ...(index % 2 === 1 ? [{ act: 'wait', seconds: BUDGET.lockSeconds } as const] : [])
  ]),
  [
    { act: 'code', which: 'now', token: 0 },
    { act: 'recovery code', which: 'unused', token: 0 },
    { act: 'code', which: 'now', token: 1 },
    { act: 'code', which: 'now', token: 0 },
    { act: 'code', which: 'used', token: 0 },
    { act: 'regenerate', token: 0 },
    { act: 'regenerate', token: 2 },
    { act: 'wait', seconds: 600 },
    { act: 'wait', seconds: 1 },
    { act: 'regenerate', token: 0 },
    ...Array<Act>(5).fill({ act: 'recovery code', which: 'used', token: 0 })
  ]
]

interface Path {
  failures: number
  lockedUntil: number
  isDisabled: boolean
}

interface Token {
  jwt: string
  kind: 'step' | 'access'
  issuedAt: number
  isUsedUp: boolean
  spent: { code: number; recovery: number }
}

interface Model {
  user: EnrolledUser
  code: Path
  recovery: Path
  lastTimeStep: number
  unused: string[]
  used: string[]
  tokens: Token[]
}

/** The part of a response that the model predicts. */
interface Prediction {
  verdict: string
  attemptsRemaining?: number
  scope?: string
  recoveryOpen?: boolean
  retryAfter?: number
  next?: string
  recoveryCodesRemaining?: number
}

const LIFE_SECONDS = { step: 300, access: 900 }
const INVALID: Prediction = { verdict: '401 invalid-credential' }

const seconds = () => clock.now().getTime() / 1000
const isLocked = ({ lockedUntil }: Path) => lockedUntil > seconds()

function isInvalid({ kind, issuedAt, isUsedUp }: Token): boolean {
  return isUsedUp || seconds() >= issuedAt + LIFE_SECONDS[kind]
}

function isSpent({ kind, spent }: Token, path: 'code' | 'recovery'): boolean {
  return kind === 'step' && spent[path] >= BUDGET.perStepToken
}

/** Returns the refusal of a guess that is not judged, or null if it is judged. */
function refusal(model: Model, held: Token, path: 'code' | 'recovery'): Prediction | null {
  const { [path]: state, recovery, unused } = model
  if (isInvalid(held)) return INVALID
  if (state.isDisabled) return { verdict: '403 authenticator-disabled' }
  const recoveryOpen = !isLocked(recovery) && !isSpent(held, 'recovery') && unused.length > 0
  const tooMany = { verdict: '429 too-many-attempts', recoveryOpen }
  if (isLocked(state)) {
    return { ...tooMany, scope: 'user', retryAfter: state.lockedUntil - seconds() }
  }
  return isSpent(held, path) ? { ...tooMany, scope: 'step_token', retryAfter: 1 } : null
}

/** Counts a wrong guess. Returns its response. */
function miss(model: Model, held: Token, path: 'code' | 'recovery'): Prediction {
  const state = model[path]
  state.failures += 1
  held.spent[path] += 1
  if (state.failures % BUDGET.beforeLock === 0) state.lockedUntil = seconds() + BUDGET.lockSeconds
  state.isDisabled = path === 'code' && state.failures >= BUDGET.beforeDisabled
  const left = [
    BUDGET.beforeLock - (state.failures % BUDGET.beforeLock),
    ...(held.kind === 'step' ? [BUDGET.perStepToken - held.spent[path]] : []),
    ...(path === 'code' ? [BUDGET.beforeDisabled - state.failures] : [])
  ]
  const isClosed = isLocked(state) || state.isDisabled || isSpent(held, path)
  return {
    verdict: '422 code-rejected',
    attemptsRemaining: isClosed ? 0 : Math.min(...left)
  }
}

/** Ends a step and clears the failures of these paths. Returns the response. */
function hit(model: Model, held: Token, paths: ('code' | 'recovery')[]): Prediction {
  for (const path of paths) model[path] = { failures: 0, lockedUntil: 0, isDisabled: false }
  held.isUsedUp = held.kind === 'step'
  return { verdict: '200', recoveryCodesRemaining: model.unused.length }
}

function predictCode(model: Model, held: Token, timeStep: number | null): Prediction {
  const refused = refusal(model, held, 'code')
  if (refused) return refused
  const isInWindow = timeStep !== null && Math.abs(timeStep - timeStepAt(clock.now())) <= 1
  if (!isInWindow || timeStep <= model.lastTimeStep) return miss(model, held, 'code')
  model.lastTimeStep = timeStep
  return hit(model, held, ['code'])
}

function predictRecoveryCode(model: Model, held: Token, recoveryCode: string): Prediction {
  const refused = refusal(model, held, 'recovery')
  if (refused) return refused
  if (!model.unused.includes(recoveryCode)) return miss(model, held, 'recovery')
  model.unused = model.unused.filter((code) => code !== recoveryCode)
  model.used.push(recoveryCode)
  return hit(model, held, ['code', 'recovery'])
}

function predictRegenerate(held: Token): Prediction {
  // This route accepts no step token.
  if (held.kind === 'step' || isInvalid(held)) return INVALID
  if (seconds() - held.issuedAt > 600) return { verdict: '401 step-up-required', next: 'verify' }
  return { verdict: '200', recoveryCodesRemaining: 10 }
}

/** Performs an act on the model and on the service. Returns the prediction and the response. */
async function perform(model: Model, act: Act): Promise<[Prediction, Answer] | null> {
  if (act.act === 'wait') {
    clock.advance({ seconds: act.seconds })
    return null
  }
  if (act.act === 'sign in') {
    model.tokens.unshift(tokenOf('step', await assertedToken(model.user)))
    return null
  }
  const held = model.tokens[act.token % Math.max(1, model.tokens.length)]
  if (!held) return null
  if (act.act === 'regenerate') return regenerate(model, held)
  if (act.act === 'recovery code') {
    const recoveryCode = { unused: model.unused[0], used: model.used[0], wrong: undefined }[
      act.which
    ]
    const tried = recoveryCode ?? WRONG_RECOVERY_CODE
    const predicted = predictRecoveryCode(model, held, tried)
    return signedIn(model, predicted, await recover(held.jwt, tried))
  }
  const now = timeStepAt(clock.now())
  const timeStep = { before: now - 1, now, after: now + 1, used: model.lastTimeStep, wrong: null }[
    act.which
  ]
  const code =
    timeStep === null
      ? wrongCode(model.user, clock.now())
      : codeAt(model.user, new Date(timeStep * 30_000))
  const predicted = predictCode(model, held, timeStep)
  return signedIn(model, predicted, await verify(held.jwt, code))
}

function signedIn(model: Model, predicted: Prediction, answer: Answer): [Prediction, Answer] {
  if (answer.statusCode === 200) {
    model.tokens.unshift(tokenOf('access', answer.json().accessToken))
  }
  return [predicted, answer]
}

async function regenerate(model: Model, held: Token): Promise<[Prediction, Answer]> {
  const predicted = predictRegenerate(held)
  const answer = await call('POST', '/v1/users/me/recovery-codes', { as: held.jwt })
  if (answer.statusCode === 200) {
    model.used.unshift(...model.unused)
    model.unused = answer.json().recoveryCodes
  }
  return [predicted, answer]
}

function tokenOf(kind: Token['kind'], jwt: string): Token {
  return { jwt, kind, issuedAt: seconds(), isUsedUp: false, spent: { code: 0, recovery: 0 } }
}

async function newModel(): Promise<Model> {
  clock.advance({ minutes: 5 })
  const user = await enrolledUser()
  return {
    user,
    code: { failures: 0, lockedUntil: 0, isDisabled: false },
    recovery: { failures: 0, lockedUntil: 0, isDisabled: false },
    // The code of the previous time step has confirmed the authenticator.
    lastTimeStep: timeStepAt(clock.now()) - 1,
    unused: user.recoveryCodes,
    used: [],
    tokens: [tokenOf('step', await assertedToken(user))]
  }
}

/** Returns the predicted members of a response. */
function asPrediction(answer: Answer): Prediction {
  const verdict = verdictOf(answer)
  const { attemptsRemaining, scope, recoveryOpen, next, recoveryCodesRemaining } = answer.json()
  const retryAfter = answer.headers['retry-after']
  return JSON.parse(
    JSON.stringify({
      verdict,
      attemptsRemaining,
      scope,
      recoveryOpen,
      next,
      recoveryCodesRemaining,
      retryAfter: retryAfter === undefined ? undefined : Number(retryAfter)
    })
  )
}

/** Returns the rows of the user as the model describes them. */
async function rowsOf({ id }: EnrolledUser) {
  const { prisma } = database
  const row = await prisma.user.findFirstOrThrow({ where: { id } })
  const authenticator = await prisma.authenticator.findFirstOrThrow({ where: { userId: id } })
  return {
    failures: [row.codeFailures, row.recoveryFailures],
    isDisabled: row.codeDisabledAt !== null,
    lastTimeStep: authenticator.lastTimeStep,
    recoveryCodes: await prisma.recoveryCode.count({ where: { userId: id } })
  }
}

/** How often each response occurred. A model that only predicts 401 would prove nothing. */
const seen = new Map<string, number>()

t.test(
  'S1, S3, S5, S7: every response is the one that the contract predicts',
  ON_SERVER,
  async (t) => {
    const property = fc.asyncProperty(ACTS, async (acts) => {
      const model = await newModel()
      const accepted: string[] = []
      for (const act of acts.flat()) {
        const done = await perform(model, act)
        if (!done) continue
        const [predicted, answer] = done
        assert.deepEqual(asPrediction(answer), predicted)
        seen.set(predicted.verdict, (seen.get(predicted.verdict) ?? 0) + 1)
        if (act.act === 'code' && predicted.verdict === '200') {
          assert.ok(
            !accepted.includes(String(model.lastTimeStep)),
            'a time step was accepted twice'
          )
          accepted.push(String(model.lastTimeStep))
        }
      }
      assert.deepEqual(await rowsOf(model.user), {
        failures: [model.code.failures, model.recovery.failures],
        isDisabled: model.code.isDisabled,
        lastTimeStep: model.lastTimeStep,
        recoveryCodes: model.unused.length
      })
    })
    await fc.assert(property, {
      numRuns: RUNS,
      examples: [[WORST]]
    })
    t.pass('every sequence follows the model')
    for (const verdict of [
      '200',
      '401 invalid-credential',
      '401 step-up-required',
      '403 authenticator-disabled',
      '422 code-rejected',
      '429 too-many-attempts'
    ]) {
      t.ok(seen.get(verdict), `${verdict} occurred`)
    }
  }
)
