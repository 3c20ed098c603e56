// Mixed traffic for a fault: one request to each main route, by users who are prepared for it, and the verdict on each
// request when it is repeated after the fault.
import type { TestApp } from './app.ts'
import type { Answer } from './calls.ts'
import { verdictOf } from './guesses.ts'

export interface TrafficRequest {
  name: string
  send(): Promise<Answer>
  /** The verdict on the repeated request: an acknowledged act must not be lost, and must not be done again. */
  afterwards: string
  /** Whether the acknowledged request is audited under its request id. */
  isAct: boolean
}

/** Creates an account with users, who send each round of traffic. */
export async function createTraffic(app: TestApp) {
  const { assertedToken, call, clock, confirm, createUser, enroll, enrolledUser, login, verify } =
    app
  const account = await app.createAccount()
  const admin = await enrolledUser({ account, role: 'admin' })
  const passwordOnly = await createUser({ account })
  const as = account.apiKey

  let accessToken = await admin.accessToken()
  /** Moves the clock on. Requests that were prepared earlier become invalid. */
  async function renew(): Promise<void> {
    clock.advance({ minutes: 2 })
    accessToken = await admin.accessToken()
  }

  /** Prepares requests that are valid now, each by a different user. */
  async function prepare(): Promise<TrafficRequest[]> {
    const [guesser, lost] = [await enrolledUser({ account }), await enrolledUser({ account })]
    const [stepToken, code] = [await guesser.stepToken(), guesser.codeAt(clock.now())]
    // No other request changes the policy of this account.
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
        // The step token is used up. If the response was lost, the code is used up, too.
        afterwards: '401 invalid-credential',
        isAct: true
      },
      { name: 'enroll', send: () => enroll(newcomerToken), afterwards: '201', isAct: true },
      {
        name: 'confirm',
        send: () => confirm(begun, authenticatorId, firstCode),
        // The confirmation has ended the epoch of the token.
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

/** Sends all requests at the same time, and measures the time of each. */
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
