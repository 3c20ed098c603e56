// Requests take turns: how many a user and an account have under way, and who is next. See docs/decisions/0015.
import type { FastifyReply, FastifyRequest, RouteHandlerMethod } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import { createFairQueue, type FairQueueState } from '../../core/fairness/fair-queue.ts'
import { sharesOf } from '../../core/fairness/shares.ts'
import type { UserKey } from '../../data/sign-in/subjects.ts'
import { unavailable } from '../../wire/problem.ts'

export interface Turn {
  /** Whose share of the service the work takes: an account's id or, before a sign-in, the name that the caller gave. */
  share: string
  /** The id of the account, if the share is that of a name: its requests are not those of another account. */
  accountId?: string | undefined
  /** Whether the work is a second step, which shares its statements with others and has a larger share therefore. */
  isSecondStep?: boolean
  /** The users whose rows the work may lock. */
  users: readonly UserKey[]
}

export interface RequestTurns {
  /**
   * Runs the work of a request when it is the turn of its users and of its share. Throws `unavailable` if one of them has
   * too much waiting, and if the request has to wait and has its response, or its caller hangs up, before its turn comes.
   */
  run<Result>(reply: FastifyReply, turn: Turn, work: () => Promise<Result>): Promise<Result>
  /** What runs and waits. Work of a user that waits for its share runs as far as the user is concerned. */
  state(): Record<'users' | 'accounts' | 'secondSteps', FairQueueState>
}

export interface TurnsOptions {
  /** How many connections to the database this process has; null if it has no pool. */
  poolMax: number | null
  /** A user for whom no work has ended for so long has stalled (core/fairness/fair-queue). */
  stalledAfterMs: number
}

/** Creates the turns of this process. */
export function createTurns({ poolMax, stalledAfterMs }: TurnsOptions): RequestTurns {
  const shares = sharesOf(poolMax)
  const refusal = () => unavailable({ detail: 'Too many requests are in progress.' })
  const clockMs = () => performance.now()
  const stall = { afterMs: stalledAfterMs, clockMs }
  const alone = { ...shares.accounts.alone, clockMs }
  const users = createFairQueue({ ...shares.users, stall, refusal })
  const accounts = createFairQueue({ ...shares.accounts, alone, refusal })
  const secondSteps = createFairQueue({ ...shares.secondSteps, refusal })

  return {
    run(reply, { share, accountId = share, isSecondStep, users: named }, work) {
      let hasWaited = false
      const start = () => (hasWaited && isOver(reply) ? Promise.reject(refusal()) : work())
      const queue = isSecondStep ? secondSteps : accounts
      const inAccount = () => queue.run(share, start, accountId)
      // Users come before accounts: the requests that wait for a locked user occupy no place of the account. All requests
      // take the same users in the same order, so that no two of them wait for each other.
      const keys = new Set(named.map(({ accountId, userId }) => `${accountId}:${userId}`))
      const inTurn = [...keys]
        .sort()
        .reduceRight<typeof work>((next, user) => () => users.run(user, next), inAccount)
      const done = inTurn()
      hasWaited = true
      return done
    },
    state: () => ({
      users: users.state(),
      accounts: accounts.state(),
      secondSteps: secondSteps.state()
    })
  }
}

/** Nothing is done for a caller who can't learn the result. */
function isOver({ raw }: FastifyReply): boolean {
  return raw.headersSent || raw.destroyed
}

/** Makes the handler of every route that requires a credential wait for its turn. The other routes call `run` themselves. */
export const turns = fastifyPlugin<{ requestTurns: RequestTurns }>(
  async (app, { requestTurns }) => {
    const wrapped = new WeakSet<RouteHandlerMethod>()
    app.addHook('onRoute', (route) => {
      const { handler } = route
      const { credentials = 'none' } = route.config ?? {}
      // Fastify adds a HEAD route with the handler of the GET route, which is already wrapped.
      if (credentials === 'none' || wrapped.has(handler)) return
      route.handler = function takeTurn(request, reply) {
        return requestTurns.run(reply, turnOf(request), async () =>
          handler.call(this, request, reply)
        )
      }
      wrapped.add(route.handler)
    })
  },
  { name: 'turns', dependencies: ['bearer-tokens'] }
)

function turnOf(request: FastifyRequest): Turn {
  const { credential, method } = request
  // The operator's requests name the account in the path or in the body, or no account. They share one place.
  const share = credential && 'accountId' in credential ? credential.accountId : 'operator'
  // A read locks no row, so it does not wait for the writes of its user.
  if (method === 'GET' || method === 'HEAD') return { share, users: [] }
  const isSecondStep = isShared(request)
  const users = usersOf(request).map((userId) => ({ accountId: share, userId }))
  return { share, isSecondStep, users }
}

/** Returns whether the request is a plain code of a second step, which shares its statement if the code is right. */
function isShared({ credential, body }: FastifyRequest): boolean {
  if (credential?.kind !== 'step' || credential.claims.purpose !== 'verify') return false
  const { code, rememberDevice } = (body ?? {}) as { code?: unknown; rememberDevice?: unknown }
  return code !== undefined && !rememberDevice && credential.firstFactor.kind === 'password'
}

/** Returns the user who acts, and the user on whom the path or the body says that they act. */
function usersOf({ credential, params, body }: FastifyRequest): string[] {
  const own = credential && 'subject' in credential ? credential.subject.userId : undefined
  const inPath = (params as { userId?: string }).userId
  const { userId, email } = (body ?? {}) as { userId?: unknown; email?: unknown }
  // An assertion names the user by id or by address. The two ways have a share each, because neither shows the other.
  const named = [inPath === 'me' ? undefined : inPath, userId, email]
    .filter((name) => typeof name === 'string')
    .map((name) => name.toLowerCase())
  return own === undefined ? named : [own, ...named]
}
