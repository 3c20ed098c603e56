// How a host verifies an access token: it needs only the JWKS, the issuer and its own audience.
import { createPublicKey, type JsonWebKey } from 'node:crypto'
import { createDecoder, createVerifier } from 'fast-jwt'

export interface Jwks {
  keys: (JsonWebKey & { kid: string })[]
}

interface Expected {
  issuer: string
  audience: string
}

/** Returns the claims of an access token. Throws if it has expired, or has another issuer or audience. */
export function verifyAccessToken(
  accessToken: string,
  { keys }: Jwks,
  { issuer, audience }: Expected
): Record<string, unknown> {
  const { header } = createDecoder({ complete: true })(accessToken)
  const jwk = keys.find(({ kid }) => kid === header.kid)
  if (!jwk) throw new Error('the key of the access token is not in the JWKS')
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
