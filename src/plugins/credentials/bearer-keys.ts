// Reads operator keys and API keys. They come before the address limit, because a valid key is exempt from it: a back
// end makes requests for many users from one address.
import type { FastifyRequest } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import { type BearerKey, isSecretOf, parseBearerKey } from '../../core/bearer-keys.ts'
import type { ApiKeys } from '../../data/accounts/api-keys.ts'
import type { Credential } from '../credentials.ts'
import { bearerOf, ruleOf } from './bearer.ts'

export interface BearerKeysOptions {
  operatorKey: { id: string; secretHash: Uint8Array }
  apiKeys: ApiKeys
  now: () => Date
}

/** Sets the credential of a request that presents a valid key. Leaves an invalid key to the check of the credential. */
export const bearerKeys = fastifyPlugin<BearerKeysOptions>(
  async (app, { operatorKey, apiKeys, now }) => {
    app.addHook('onRequest', async (request) => {
      const bearer = ruleOf(request) && bearerOf(request)
      const key = bearer ? parseBearerKey(bearer) : null
      if (!key) return
      request.credential =
        key.kind === 'operator' ? readOperatorKey(key) : await readApiKey(request, key)
    })

    function readOperatorKey({ id, secret }: BearerKey): Credential | null {
      const isOperator = isSecretOf(secret, operatorKey.secretHash) && id === operatorKey.id
      return isOperator ? { kind: 'operator', id } : null
    }

    async function readApiKey(request: FastifyRequest, key: BearerKey): Promise<Credential | null> {
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
  { name: 'bearer-keys', dependencies: ['credentials'] }
)
