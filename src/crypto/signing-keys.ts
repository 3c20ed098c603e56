// Generates, seals and opens the ES256 keys that sign access tokens.
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject
} from 'node:crypto'
import { createSealer, type MasterKeys, type Sealer } from './sealing.ts'

export interface PublicJwk {
  kty: string
  crv: string
  x: string
  y: string
}

/** A new key to store. */
export interface NewSigningKey {
  /** The `kid` of its tokens. */
  id: string
  publicJwk: PublicJwk
  sealedPrivateKey: string
}

/** Returns a new random ES256 key. Its id is the thumbprint of the public half. The private half is sealed, and opens only with the id. */
export function generateSigningKey(masterKeys: MasterKeys): NewSigningKey {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const publicJwk = publicJwkOf(publicKey)
  const id = thumbprint(publicJwk)
  const pkcs8 = privateKey.export({ format: 'der', type: 'pkcs8' })
  return { id, publicJwk, sealedPrivateKey: sealerOf(masterKeys).seal(pkcs8, [id]) }
}

/**
 * Opens a stored key. The public half is derived from the private half, because an attacker with access to the database
 * could have replaced a stored one. Throws `UnsealError` if `MASTER_KEYS` cannot open it.
 */
export function openSigningKey(
  masterKeys: MasterKeys,
  { id, sealedPrivateKey }: Pick<NewSigningKey, 'id' | 'sealedPrivateKey'>
): { privateKey: KeyObject; publicKey: KeyObject; publicJwk: PublicJwk } {
  const pkcs8 = sealerOf(masterKeys).unseal(sealedPrivateKey, [id])
  const privateKey = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
  const publicKey = createPublicKey(privateKey)
  return { privateKey, publicKey, publicJwk: publicJwkOf(publicKey) }
}

function sealerOf(masterKeys: MasterKeys): Sealer {
  return createSealer(masterKeys, 'signing-key')
}

function publicJwkOf(publicKey: KeyObject): PublicJwk {
  const { kty = '', crv = '', x = '', y = '' } = publicKey.export({ format: 'jwk' })
  return { kty, crv, x, y }
}

/** Returns the RFC 7638 thumbprint: SHA-256 over the required members in lexicographic order. */
function thumbprint({ crv, kty, x, y }: PublicJwk): string {
  return createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url')
}
