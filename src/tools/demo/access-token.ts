// What a host does with an access token: nothing but the JWKS, the issuer and its own audience are needed.
import { createPublicKey, type JsonWebKey } from 'node:crypto'
import { createDecoder, createVerifier } from 'fast-jwt'

export interface Jwks {
  keys: (JsonWebKey & { kid: string })[]
}

export interface Expected {
  issuer: string
  audience: string
}

/** The claims of an access token. Throws when it is not one from this issuer, for this audience, and alive. */
export function verifyAccessToken(
  accessToken: string,
  { keys }: Jwks,
  { issuer, audience }: Expected
): Record<string, unknown> {
  const { header } = createDecoder({ complete: true })(accessToken)
  const jwk = keys.find(({ kid }) => kid === header.kid)
  if (!jwk) throw new Error('the access token names a key that the JWKS does not hold')
  const verify = createVerifier({
    key: createPublicKey({ key: jwk, format: 'jwk' }).export({ format: 'pem', type: 'spki' }),
    algorithms: ['ES256'],
    allowedIss: issuer,
    allowedAud: audience,
    checkTyp: 'at+jwt',
    requiredClaims: ['iss', 'aud', 'exp', 'sub']
  })
  return verify(accessToken)
}
