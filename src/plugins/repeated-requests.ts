// Gives a repetition of a request the response to the first one, if both have the same `Idempotency-Key`
// (draft-ietf-httpapi-idempotency-key-header-07). A client that got no response can therefore repeat a request safely.
import type { FastifyReply, FastifyRequest } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import { NO_ACCOUNT } from '../core/audit/events.ts'
import {
  identifyRequest,
  type RequestIdentity,
  STORED_RESPONSE_SECONDS
} from '../core/input/repeated-requests.ts'
import type { Sealer } from '../crypto/sealing.ts'
import type {
  ResponseKeeper,
  ResponsePlace,
  StoredResponses
} from '../data/trail/stored-responses.ts'
import { Problem } from '../wire/problem.ts'
import { type IdempotencyKey, REPLAYED_HEADER } from '../wire/repeated-requests.ts'
import type { Limits } from './limits.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Whether a request with an `Idempotency-Key` can be repeated. The act stores its response by `responseKeeper`. */
    repeatable?: true
  }
  interface FastifyRequest {
    /** Returns the keeper of the response with this body; null if the request has no `Idempotency-Key`. */
    responseKeeper<Result>(bodyOf: (result: Result) => object): ResponseKeeper<Result> | null
    /** Null if the request has no `Idempotency-Key`. */
    repeatableAs: (ResponsePlace & RequestIdentity) | null
  }
}

export interface RepeatedRequestsOptions {
  storedResponses: StoredResponses
  responseSealer: Sealer
  limits: Limits
  now: () => Date
}

interface StoredBody {
  fingerprint: string
  body: object
}

export const repeatedRequests = fastifyPlugin<RepeatedRequestsOptions>(
  async (app, { storedResponses, responseSealer, limits, now }) => {
    /** The places of requests under way in this process. Requests in other processes meet in the database. */
    const underWay = new Set<string>()

    app.decorateRequest('repeatableAs', null)
    app.decorateRequest('responseKeeper', responseKeeper)
    app.addHook('preHandler', async (request, reply) => {
      const place = placeOf(request)
      if (!place) return
      request.repeatableAs = place
      const stored = await storedResponses.find(place, now())
      if (stored !== null) return replay(request, reply, place, stored)
      claim(reply, `${place.accountId} ${place.id}`)
    })

    // A repetition with another password is a guess at the first one, so it is delayed like one.
    async function replay(
      request: FastifyRequest,
      reply: FastifyReply,
      { fingerprint, ...place }: RequestIdentity & ResponsePlace,
      stored: string
    ) {
      const tried = { account: place.accountId, email: place.id }
      await limits.requirePasswordPause(request, tried)
      const opened = responseSealer.unseal(stored, contextOf(place))
      const { body, ...first }: StoredBody = JSON.parse(opened.toString())
      if (first.fingerprint !== fingerprint) {
        await limits.countFailedPassword(request, tried)
        throw new Problem('idempotency-key-reused')
      }
      return reply.code(201).header(REPLAYED_HEADER, 'true').send(body)
    }

    function claim(reply: FastifyReply, place: string): void {
      if (underWay.has(place)) throw inUse()
      // The client has hung up, and no event would end the claim.
      if (reply.raw.closed) return
      underWay.add(place)
      // After the response, and also if the client hangs up.
      reply.raw.once('close', () => underWay.delete(place))
    }

    function responseKeeper<Result>(
      this: FastifyRequest,
      bodyOf: (result: Result) => object
    ): ResponseKeeper<Result> | null {
      if (!this.repeatableAs) return null
      const { fingerprint, accountId, id } = this.repeatableAs
      const at = now()
      return {
        place: { accountId, id },
        now: at,
        expiresAt: new Date(at.getTime() + STORED_RESPONSE_SECONDS * 1000),
        sealedOf: (result) => {
          const stored: StoredBody = { fingerprint, body: bodyOf(result) }
          return responseSealer.seal(
            Buffer.from(JSON.stringify(stored)),
            contextOf({ accountId, id })
          )
        },
        taken: inUse
      }
    }
  },
  { name: 'repeated-requests' }
)

function placeOf(request: FastifyRequest): (ResponsePlace & RequestIdentity) | null {
  const { method, url = '', config } = request.routeOptions
  const { 'idempotency-key': key } = request.headers as IdempotencyKey
  if (!config.repeatable || key === undefined) return null
  const { kind, id, ...credential } = request.credentialOf('operator', 'apiKey')
  const accountId = 'accountId' in credential ? credential.accountId : NO_ACCOUNT
  const { body } = request
  return {
    accountId,
    ...identifyRequest({ credential: { kind, id }, operation: `${method} ${url}`, key, body })
  }
}

function contextOf({ accountId, id }: ResponsePlace): string[] {
  return [accountId, id]
}

function inUse(): Problem {
  return new Problem('idempotency-key-in-use', { headers: { 'retry-after': '1' } })
}
