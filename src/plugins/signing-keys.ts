// The keys behind access tokens: made at the first start, sealed in the database, cached here.
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto'
import { createSealer, type MasterKeys } from '../core/sealing.ts'
import type {
  PublicJwk,
  SigningKey,
  SigningKeys as StoredSigningKeys
} from '../data/signing-keys.ts'

/** An unknown `kid` makes us look again for a key that another replica made, but not at every forged token. */
const RELOAD_SECONDS = 10

export interface Jwk extends PublicJwk {
  kid: string
  alg: 'ES256'
  use: 'sig'
}

export interface SigningKeys {
  /** The key that signs now. */
  current(): { kid: string; privateKeyPem: string }
  /** The public key of that id as PEM; null for one we never had. */
  publicKeyPem(kid: string): Promise<string | null>
  /** Every key whose tokens may be alive (RFC 7517). */
  jwks(): { keys: Jwk[] }
}

interface OpenKey {
  kid: string
  jwk: Jwk
  publicKeyPem: string
  privateKeyPem: string
}

export interface SigningKeysOptions {
  stored: StoredSigningKeys
  masterKeys: MasterKeys
  now: () => Date
}

/** Opens the deployment's signing keys. Throws `UnsealError` when `MASTER_KEYS` can't open one of them. */
export async function openSigningKeys({
  stored,
  masterKeys,
  now
}: SigningKeysOptions): Promise<SigningKeys> {
  const sealer = createSealer(masterKeys, 'signing-key')
  let opened = await load()
  let loadedAt = now().getTime()

  async function load(): Promise<[OpenKey, ...OpenKey[]]> {
    const [newest, ...older] = (await stored.list()).map((key) => open(key))
    if (newest) return [newest, ...older]
    await stored.createFirst(generateSigningKey())
    return load()
  }

  function generateSigningKey(): SigningKey {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const publicJwk = publicKey.export({ format: 'jwk' }) as PublicJwk
    const id = thumbprint(publicJwk)
    const pkcs8 = privateKey.export({ format: 'der', type: 'pkcs8' })
    return { id, publicJwk, sealedPrivateKey: sealer.seal(pkcs8, [id]), createdAt: now() }
  }

  function open({ id, sealedPrivateKey }: SigningKey): OpenKey {
    const pkcs8 = sealer.unseal(sealedPrivateKey, [id])
    const privateKey = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
    const publicKey = createPublicKey(privateKey)
    const { kty, crv, x, y } = publicKey.export({ format: 'jwk' }) as PublicJwk
    return {
      kid: id,
      jwk: { kty, crv, x, y, kid: id, alg: 'ES256', use: 'sig' },
      publicKeyPem: publicKey.export({ format: 'pem', type: 'spki' }).toString(),
      privateKeyPem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
    }
  }

  return {
    current: () => opened[0],

    async publicKeyPem(kid) {
      const find = () => opened.find((key) => key.kid === kid)?.publicKeyPem ?? null
      // Either way: a clock that was set back must not put the next look off until it has caught up.
      const elapsedMs = Math.abs(now().getTime() - loadedAt)
      if (find() || elapsedMs < RELOAD_SECONDS * 1000) return find()
      loadedAt = now().getTime()
      opened = await load()
      return find()
    },

    jwks: () => ({ keys: opened.map(({ jwk }) => jwk) })
  }
}

/** RFC 7638: SHA-256 over the required members in lexicographic order. */
function thumbprint({ crv, kty, x, y }: PublicJwk): string {
  return createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url')
}
