// Reads operator keys and API keys. They come before the address limit, because a valid key is exempt from it: a back
// end makes requests for many users from one address.
import type { FastifyReply, FastifyRequest } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import { type BearerKey, isSecretOf, parseBearerKey } from '../../core/bearer-keys.ts'
import type { ApiKeyMaker } from '../../crypto/api-keys.ts'
import type { ApiKeys } from '../../data/accounts/api-keys.ts'
import type { Credential } from '../credentials.ts'
import type { Limits } from '../limits.ts'
import { bearerOf, invalidCredential, ruleOf } from './bearer.ts'
import { createKeyMemory } from './key-memory.ts'

export interface BearerKeysOptions {
  operatorKey: { id: string; secretHash: Uint8Array }
  apiKeys: ApiKeys
  apiKeyMaker: ApiKeyMaker
  limits: Limits
  now: () => Date
}

/** Sets the credential of a request that presents a valid key. Leaves an invalid key to the check of the credential. */
export const bearerKeys = fastifyPlugin<BearerKeysOptions>(
  async (app, { operatorKey, apiKeys, apiKeyMaker, limits, now }) => {
    const memory = createKeyMemory()

    app.addHook('onRequest', async (request, reply) => {
      const bearer = ruleOf(request) && bearerOf(request)
      const key = bearer ? parseBearerKey(bearer) : null
      if (!key) return
      const credential =
        key.kind === 'operator' ? readOperatorKey(key) : await readApiKey(request, reply, key)
      request.credential = credential
      if (credential?.kind === 'apiKey') await limits.spendKey(request, reply, credential)
    })

    function readOperatorKey({ id, secret }: BearerKey): Credential | null {
      const isOperator = isSecretOf(secret, operatorKey.secretHash) && id === operatorKey.id
      return isOperator ? { kind: 'operator', id } : null
    }

    /**
     * A key that the service made, or that was valid before, is looked up freely. Any other key is either invented or of a
     * release up to 0.1. It is looked up only if its address has a request left, and counts unless it is valid.
     */
    async function readApiKey(
      request: FastifyRequest,
      reply: FastifyReply,
      key: BearerKey
    ): Promise<Credential | null> {
      const isMade = apiKeyMaker.isMade(key)
      if (memory.recall(key) ?? isMade) {
        const credential = await findApiKey(request, key)
        memory.note(key, credential !== null)
        return credential
      }
      const release = await limits.holdAddress(request, reply)
      try {
        const credential = await findApiKey(request, key)
        if (credential || isMade) memory.note(key, credential !== null)
        if (credential) return credential
        await limits.spendAddress(request, reply)
        throw invalidCredential(request)
      } finally {
        release()
      }
    }

    async function findApiKey(request: FastifyRequest, key: BearerKey): Promise<Credential | null> {
      const stored = await apiKeys.findWithHash(key.id)
      if (!stored || !isSecretOf(key.secret, stored.secretHash)) return null
      if (stored.expiresAt && stored.expiresAt <= now()) return null
      // Not awaited: noting that a key was used must not slow down its use.
      apiKeys
        .noteUse(stored, now())
        .catch((error) => request.log.warn(error, 'key use not recorded'))
      const { accountId, id, scopes, expiresAt } = stored
      return { kind: 'apiKey', accountId, id, scopes, expiresAt }
    }
  },
  { name: 'bearer-keys', dependencies: ['credentials', 'peer-and-host'] }
)
