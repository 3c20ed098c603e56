// A user in a test in which replicas end during requests. The user remembers every acknowledged act, and every act that
// may have been done without a response, and checks that each response is possible under the rules of the contract.
import { type TestAccount, verbsBy } from './app.ts'
import type { Answer, Caller } from './calls.ts'
import { verdictOf, WRONG_RECOVERY_CODE, wrongCode } from './guesses.ts'
import { codeAt, timeStepAt } from './rfc6238.ts'

/** The defaults of core/attempts. */
const PER_STEP_TOKEN = 5
const BEFORE_LOCK = 10
const STEP_MS = 30_000

export interface Ledger {
  /** Acknowledged acts and refusals, which must be audited. */
  acknowledged: { requestId: string; what: string; outcome: 'succeeded' | 'refused' }[]
  /** The broken rules. */
  violations: string[]
  /** How often each verdict was received; `no answer` if the connection was lost, or after a 503. */
  heard: Map<string, number>
}

export function createLedger(): Ledger {
  return { acknowledged: [], violations: [], heard: new Map() }
}

interface Token {
  jwt: string
  kind: 'step' | 'enroll' | 'access'
  /** `doubtful` after a request without a response that may have invalidated the token. */
  state: 'live' | 'doubtful' | 'invalid'
  wrong: number
  wrongRecovery: number
}

/** The bounds of a count that is not known exactly. */
interface Count {
  atLeast: number
  atMost: number
}

/** Returns whether codes may be locked, or the budget of the step token may be spent. */
function isPerhapsClosed({ atMost }: Count, ofStepToken: number): boolean {
  return atMost >= BEFORE_LOCK || ofStepToken >= PER_STEP_TOKEN
}

const NONE: Count = { atLeast: 0, atMost: 0 }

/** Creates a user, who does one random act at a time and reports broken rules to the ledger. */
export async function createPerson(call: Caller, account: TestAccount, ledger: Ledger) {
  const verbs = verbsBy(call)
  const { id } = await verbs.createUser({ account, email: `${crypto.randomUUID()}@example.com` })
  const { apiKey: as } = account
  let authenticator: 'none' | 'there' | 'doubtful' = 'none'
  let secret = ''
  let taken: number[] = []
  let doubtfulStep = 0
  let recovery = { good: [] as string[], used: [] as string[], isDoubtful: false }
  let failures: Count = NONE
  /** Recovery codes have a budget of their own. */
  let recoveryFailures: Count = NONE
  let tokens: Token[] = []

  const broken = (rule: string) => ledger.violations.push(`${id}: ${rule}`)
  const pick = <Item>(items: readonly Item[]) => items[Math.floor(Math.random() * items.length)]
  const tokenOf = (kind: Token['kind'], state: Token['state']) =>
    pick(tokens.filter((token) => token.kind === kind && token.state === state))

  /** Resolves to null without a response: the act may or may not have been done. */
  async function ask(what: string, send: () => Promise<Answer>): Promise<Answer | null> {
    const answer = await send().catch(() => null)
    const isUnknown = answer === null || answer.statusCode === 503
    const result = `${what}: ${isUnknown ? 'no answer' : verdictOf(answer)}`
    ledger.heard.set(result, (ledger.heard.get(result) ?? 0) + 1)
    if (isUnknown) return null
    if (answer.statusCode >= 500) broken(result)
    const isRecorded = !what.startsWith('read') && [200, 201, 422].includes(answer.statusCode)
    if (isRecorded) {
      const requestId = String(answer.headers['x-request-id'])
      const outcome = answer.statusCode < 300 ? 'succeeded' : 'refused'
      ledger.acknowledged.push({ requestId, what, outcome })
    }
    return answer
  }

  function endTokens(state: 'invalid' | 'doubtful'): void {
    for (const token of tokens) if (token.state !== 'invalid') token.state = state
    tokens = tokens.slice(-20)
  }

  function keep(kind: Token['kind'], jwt: string): Token {
    const token: Token = { jwt, kind, state: 'live', wrong: 0, wrongRecovery: 0 }
    tokens.push(token)
    return token
  }

  async function signIn(): Promise<Token | null> {
    const body = { userId: id, firstFactor: 'pwd' }
    const answer = await ask('sign in', () => call('POST', '/v1/login/assertion', { as, body }))
    if (!answer) return null
    const { status, accessToken, stepToken } = answer.json()
    const isAsked = status === 'verification_required'
    if (!isAsked && authenticator === 'there') broken('signed in without a code')
    if (isAsked && authenticator === 'none') broken('asked for a code after a reset')
    authenticator = isAsked ? 'there' : 'none'
    if (isAsked) return keep('step', stepToken)
    // A reset leads to a set-up. Before the first set-up, nothing requires one.
    return status === 'enrollment_required'
      ? keep('enroll', stepToken)
      : keep('access', accessToken)
  }

  async function enroll(): Promise<void> {
    const token = await signIn()
    if (!token || token.kind === 'step') return
    const begun = await ask('enroll', () => verbs.enroll(token.jwt))
    if (begun?.statusCode !== 201) return
    const { authenticatorId, setupKey } = begun.json()
    secret = setupKey
    // The oldest code that is accepted, so that two more codes are valid now.
    const step = timeStepAt(new Date()) - 1
    const code = codeAt({ secret }, new Date(step * STEP_MS))
    const confirm = () => verbs.confirm(token.jwt, authenticatorId, code)
    const confirmed = await ask('confirm', confirm)
    if (!confirmed) mayBeEnrolled(step)
    else if (confirmed.statusCode === 200) enrolled(step, confirmed)
  }

  function enrolled(step: number, confirmed: Answer): void {
    const { recoveryCodes, accessToken } = confirmed.json()
    authenticator = 'there'
    taken = [step]
    doubtfulStep = step
    failures = NONE
    recovery = { good: recoveryCodes, used: [], isDoubtful: false }
    endTokens('invalid')
    keep('access', accessToken)
  }

  function mayBeEnrolled(step: number): void {
    authenticator = 'doubtful'
    taken = []
    doubtfulStep = step
    failures = NONE
    recovery = { good: [], used: [], isDoubtful: true }
    endTokens('doubtful')
  }

  function succeeded(token: Token, answer: Answer): void {
    token.state = 'invalid'
    failures = NONE
    keep('access', answer.json().accessToken)
  }

  /** Records a guess without a response, which may have completed the step or counted as a failure. */
  function doubt(token: Token): void {
    token.state = 'doubtful'
    failures = { atLeast: 0, atMost: failures.atMost + 1 }
  }

  function missed(token: Token): void {
    if (failures.atLeast >= BEFORE_LOCK) broken('a code was judged despite the lock')
    if (token.wrong >= PER_STEP_TOKEN) broken('a code was judged over the budget of the step token')
    token.wrong += 1
    failures = { atLeast: failures.atLeast + 1, atMost: failures.atMost + 1 }
  }

  /** Sends a right code, and sometimes sends it to both replicas at the same time: only one may accept it. */
  async function rightCode(): Promise<void> {
    const token = tokenOf('step', 'live') ?? (await signIn())
    if (token?.kind !== 'step') return
    const now = timeStepAt(new Date())
    const step = Math.max(now, doubtfulStep + 1, ...taken.map((each) => each + 1))
    if (step > now + 1) {
      await reset()
      return
    }
    const code = codeAt({ secret }, new Date(step * STEP_MS))
    const send = () => ask('right code', () => verbs.verify(token.jwt, code))
    const answers = await Promise.all(Math.random() < 0.3 ? [send(), send()] : [send()])
    doubtfulStep = step
    judgeRightCode(token, step, answers)
  }

  function judgeRightCode(token: Token, step: number, answers: (Answer | null)[]): void {
    const [good, second] = answers.filter((answer) => answer?.statusCode === 200)
    if (second) broken('a code was accepted twice')
    if (failures.atLeast >= BEFORE_LOCK && good) broken('a code passed the lock')
    if (good) {
      taken = [...taken, step]
      succeeded(token, good)
    } else if (answers.includes(null)) doubt(token)
    else judgeRefusal(token, answers)
  }

  function judgeRefusal(token: Token, answers: (Answer | null)[]): void {
    const refused = answers.map((answer) => answer && verdictOf(answer))
    const isExpected = refused.every((verdict) => verdict?.startsWith('429'))
    if (!isExpected || !isPerhapsClosed(failures, token.wrong)) broken(`right code: ${refused}`)
  }

  async function badCode(what: string, code: string): Promise<void> {
    const token = tokenOf('step', 'live') ?? (await signIn())
    if (token?.kind !== 'step') return
    const answer = await ask(what, () => verbs.verify(token.jwt, code))
    if (!answer) doubt(token)
    else if (answer.statusCode === 200) broken(`${what} was accepted`)
    else if (answer.statusCode === 422) missed(token)
  }

  async function wrong(): Promise<void> {
    await badCode('wrong code', wrongCode({ secret }, new Date()))
  }

  async function replay(): Promise<void> {
    const step = pick(taken)
    if (step) await badCode('used code', codeAt({ secret }, new Date(step * STEP_MS)))
  }

  async function recover(): Promise<void> {
    const token = tokenOf('step', 'live') ?? (await signIn())
    const recoveryCode = pick(recovery.good)
    if (token?.kind !== 'step' || !recoveryCode) return
    const answer = await ask('recovery code', () => verbs.recover(token.jwt, recoveryCode))
    const mayBeClosed = isPerhapsClosed(recoveryFailures, token.wrongRecovery)
    if (answer?.statusCode === 429 && mayBeClosed) return
    recovery.good = recovery.good.filter((code) => code !== recoveryCode)
    if (!answer) {
      recovery.isDoubtful = true
      recoveryFailures = { ...recoveryFailures, atLeast: 0 }
      doubt(token)
    } else if (answer.statusCode === 200) {
      if (recoveryFailures.atLeast >= BEFORE_LOCK) broken('a recovery code passed the lock')
      recovery.used.push(recoveryCode)
      recoveryFailures = NONE
      succeeded(token, answer)
    } else broken(`recovery code: ${verdictOf(answer)}`)
  }

  async function recoverAgain(): Promise<void> {
    const token = tokenOf('step', 'live')
    if (!token) return
    const recoveryCode = pick(recovery.used) ?? WRONG_RECOVERY_CODE
    const answer = await ask('used recovery code', () => verbs.recover(token.jwt, recoveryCode))
    if (answer?.statusCode === 200) broken('a recovery code was accepted twice')
    if (answer && answer.statusCode !== 422) return
    const { atLeast, atMost } = recoveryFailures
    if (answer && atLeast >= BEFORE_LOCK) broken('a recovery code was judged despite the lock')
    recoveryFailures = { atLeast: answer ? atLeast + 1 : atLeast, atMost: atMost + 1 }
    token.wrongRecovery += 1
  }

  async function reset(): Promise<void> {
    const answer = await ask('reset', () => call('POST', `/v1/users/${id}/reset`, { as }))
    if (!answer) {
      authenticator = 'doubtful'
      recovery = { good: [], used: recovery.used, isDoubtful: true }
      failures = { ...failures, atLeast: 0 }
      recoveryFailures = { ...recoveryFailures, atLeast: 0 }
      endTokens('doubtful')
    } else if (answer.statusCode === 200) {
      authenticator = 'none'
      taken = []
      recovery = { good: [], used: [], isDoubtful: false }
      failures = NONE
      recoveryFailures = NONE
      endTokens('invalid')
    } else broken(`reset: ${verdictOf(answer)}`)
  }

  async function oldTokens(): Promise<void> {
    const step = tokenOf('step', 'invalid')
    if (step) {
      const answer = await ask('read: invalid step token', () => verbs.verify(step.jwt, '000000'))
      if (answer && answer.statusCode !== 401) broken(`invalid step token: ${verdictOf(answer)}`)
    }
    const token = tokenOf('access', 'invalid')?.jwt
    if (!token) return
    const me = await ask('read: invalid access token', () =>
      call('GET', '/v1/users/me', { as: token })
    )
    if (me && me.statusCode !== 401) broken(`invalid access token: ${verdictOf(me)}`)
    const send = () => call('POST', '/v1/introspect', { as, body: { token } })
    const introspected = await ask('read: introspect', send)
    if (introspected && introspected.json().active !== false) broken('an invalid token is active')
  }

  async function liveToken(): Promise<void> {
    const token = tokenOf('access', 'live')
    if (!token) return
    const send = () => call('GET', '/v1/users/me', { as: token.jwt })
    const answer = await ask('read: live access token', send)
    if (answer && answer.statusCode !== 200) broken(`live access token: ${verdictOf(answer)}`)
  }

  const ACTS = [
    ...[signIn, rightCode, rightCode, rightCode, wrong, wrong, wrong, replay],
    ...[recover, recoverAgain, reset, oldTokens, oldTokens, liveToken]
  ]

  return {
    id,
    /** Does the next act. */
    async act(): Promise<void> {
      if (authenticator === 'none') await enroll()
      else if (authenticator === 'doubtful') await signIn()
      else await pick(ACTS)?.()
    },
    /** Returns what the database must contain at the end. */
    known: () => ({
      isEnrolled: authenticator === 'doubtful' ? null : authenticator === 'there',
      failures,
      lastTimeStep: Math.max(0, ...taken),
      recoveryCodes: recovery.isDoubtful ? null : recovery.good.length
    })
  }
}
