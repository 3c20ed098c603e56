import { createPublicKey, randomBytes } from 'node:crypto'
import { calculateJwkThumbprint } from 'jose'
import t from 'tap'
import { type MasterKey, UnsealError } from '../../src/crypto/sealing.ts'
import { generateSigningKey, openSigningKey } from '../../src/crypto/signing-keys.ts'

const MASTER: MasterKey = { id: 'k1', key: randomBytes(32) }

t.test(
  'a new key is a P-256 key, has its thumbprint as its id and opens only for this id',
  async (t) => {
    const { id, publicJwk, sealedPrivateKey } = generateSigningKey([MASTER])
    t.equal(id, await calculateJwkThumbprint(publicJwk))
    t.match(publicJwk, { kty: 'EC', crv: 'P-256' })
    const opened = openSigningKey([MASTER], { id, sealedPrivateKey })
    t.same(opened.publicJwk, publicJwk)
    t.same(createPublicKey(opened.privateKey).export({ format: 'jwk' }), publicJwk)
    const other = generateSigningKey([MASTER])
    t.not(other.id, id)
    t.throws(() => openSigningKey([MASTER], { id: other.id, sealedPrivateKey }), UnsealError)
  }
)
