// Mixed traffic for a fault: one request of each main route, by people who are ready for it, and what each may come to
// when the fault is over.
import type { TestApp } from './app.ts'
import type { Answer } from './calls.ts'
import { verdictOf } from './guesses.ts'

export interface TrafficRequest {
  name: string
  send(): Promise<Answer>
  /** What it answers once it was done: an act that is acknowledged must not be done again, nor be forgotten. */
  afterwards: string
  /** Whether it is on record, by its request id, once it was acknowledged. */
  isAct: boolean
}

/** An account with its people, from which each round of traffic is made. */
export async function createTraffic(app: TestApp) {
  const { assertedToken, call, clock, confirm, createUser, enroll, enrolledUser, login, verify } =
    app
  const account = await app.createAccount()
  const admin = await enrolledUser({ account, role: 'admin' })
  const passwordOnly = await createUser({ account })
  const as = account.apiKey

  let accessToken = await admin.accessToken()
  /** Lets time pass, which makes what was prepared before worthless. */
  async function renew(): Promise<void> {
    clock.advance({ minutes: 2 })
    accessToken = await admin.accessToken()
  }

  /** Requests that are good now, each by somebody else. */
  async function prepare(): Promise<TrafficRequest[]> {
    const [guesser, lost] = [await enrolledUser({ account }), await enrolledUser({ account })]
    const [stepToken, code] = [await guesser.stepToken(), guesser.codeAt(clock.now())]
    // Whose policy nobody else changes meanwhile.
    const other = await app.createAccount()
    const [beginner, newcomer] = [await createUser({ account }), await createUser({ account })]
    const begun = await assertedToken(beginner)
    const { authenticatorId, setupKey } = (await enroll(begun)).json()
    const firstCode = app.codeAt(setupKey, clock.now())
    const newcomerToken = await assertedToken(newcomer)
    const reads = (name: string, path: string, credential = accessToken) => ({
      name,
      send: () => call('GET', path, { as: credential }),
      afterwards: '200',
      isAct: false
    })
    return [
      { name: 'login', send: () => login(passwordOnly), afterwards: '200', isAct: true },
      {
        name: 'verify',
        send: () => verify(stepToken, code),
        // Its step token is used up; where the answer was lost, the code is as well.
        afterwards: '401 invalid-credential',
        isAct: true
      },
      { name: 'enroll', send: () => enroll(newcomerToken), afterwards: '201', isAct: true },
      {
        name: 'confirm',
        send: () => confirm(begun, authenticatorId, firstCode),
        // The token of before is of an epoch that is over.
        afterwards: '401 invalid-credential',
        isAct: true
      },
      {
        name: 'reset',
        send: () => call('POST', `/v1/users/${lost.id}/reset`, { as }),
        afterwards: '409 nothing-to-reset',
        isAct: true
      },
      {
        name: 'change policy',
        send: () =>
          call('PATCH', '/v1/policy', {
            as: other.apiKey,
            headers: { 'if-match': '*' },
            body: { graceDays: 3 }
          }),
        afterwards: '200',
        isAct: true
      },
      {
        name: 'introspect',
        send: () => call('POST', '/v1/introspect', { as, body: { token: accessToken } }),
        afterwards: '200',
        isAct: false
      },
      reads('policy', '/v1/policy'),
      reads('users', '/v1/users'),
      reads('audit events', '/v1/audit-events'),
      reads('jwks', '/.well-known/jwks.json', '')
    ]
  }

  return { renew, prepare }
}

export interface Sent {
  request: TrafficRequest
  answer: Answer
  verdict: string
  tookMs: number
}

/** Sends all at once, and times each. */
export function sendAll(requests: readonly TrafficRequest[]): Promise<Sent[]> {
  return Promise.all(
    requests.map(async (request) => {
      const before = performance.now()
      const answer = await request.send()
      return { request, answer, verdict: verdictOf(answer), tookMs: performance.now() - before }
    })
  )
}

export const wasDone = ({ answer }: Sent) => answer.statusCode < 300
