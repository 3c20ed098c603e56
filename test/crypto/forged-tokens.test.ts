import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { CompactSign } from 'jose'
import t from 'tap'
import { deriveKey } from '../../src/crypto/sealing.ts'
import { leastCpuTime } from '../support/cpu-time.ts'
import {
  base64url,
  ecdsa,
  hmac,
  ISSUER,
  json,
  KEY_1,
  KEY_2,
  type Kind,
  type Parts,
  partsOf,
  type Reader,
  SUBJECT,
  startReader,
  write
} from './token-reader.ts'

const OTHER_ID = '018f4e3c-0000-7000-8000-00000000000f'

type Forgeries = Record<string, string>

/** Tokens with another signature than one of the kind's own key and algorithm. */
function forgedSignatures(kind: Kind, parts: Parts): Forgeries {
  const { header, payload, signature, stepKey, privateKey, issued } = parts
  const publicKey = createPublicKey(privateKey)
  const publicPem = publicKey.export({ format: 'pem', type: 'spki' }).toString()
  const publicJwk = publicKey.export({ format: 'jwk' })
  const publicDer = publicKey.export({ format: 'der', type: 'spki' })
  const attacker = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  const attackerJwk = createPublicKey(attacker).export({ format: 'jwk' })
  const none = () => Buffer.alloc(0)
  const bySecret = (alg: string, secret: string | Uint8Array) =>
    write({ ...header, alg }, payload, hmac(secret, `sha${alg.slice(2)}`))
  const algorithms = ['none', 'None', 'NONE', '', 'hs256', 'es256', 'HS256 ', null, 7, {}, true]
  return {
    ...Object.fromEntries(
      algorithms.flatMap((alg) => [
        [`alg ${json(alg)}, no signature`, write({ ...header, alg }, payload, none)],
        [`alg ${json(alg)}, its own signature`, write({ ...header, alg }, payload, parts.sign)]
      ])
    ),
    'alg missing': write({ ...header, alg: undefined }, payload, parts.sign),
    'alg in a list': write({ ...header, alg: [header.alg] }, payload, parts.sign),
    'alg none under the right signature': `${base64url({ ...header, alg: 'none' })}.${base64url(payload)}.${signature}`,
    'HS256 by the public key as PEM': bySecret('HS256', publicPem),
    'HS256 by the public key as trimmed PEM': bySecret('HS256', publicPem.trim()),
    'HS256 by the public key as JWK': bySecret('HS256', JSON.stringify(publicJwk)),
    'HS256 by the public key as DER': bySecret('HS256', publicDer),
    'HS256 by an empty key': bySecret('HS256', ''),
    'HS256 by the key id': bySecret('HS256', header.kid),
    'HS256 by "null"': bySecret('HS256', 'null'),
    'HS256 by the master key itself': bySecret('HS256', KEY_1.key),
    'HS256 by the key of another purpose': bySecret('HS256', deriveKey(KEY_1, 'recovery-code')),
    'HS256 by another ring': bySecret(
      'HS256',
      deriveKey(KEY_2, 'step-token').toString('base64url')
    ),
    'HS384 by the right secret': bySecret('HS384', stepKey),
    'HS512 by the right secret': bySecret('HS512', stepKey),
    'ES256 by a stranger': write({ ...header, alg: 'ES256' }, payload, ecdsa(attacker)),
    'ES256 by a stranger, with the stranger’s key as jwk': write(
      { ...header, alg: 'ES256', jwk: attackerJwk },
      payload,
      ecdsa(attacker)
    ),
    'ES256 by a stranger, with jku, x5u and x5c': write(
      {
        ...header,
        alg: 'ES256',
        jku: 'https://evil.example/jwks',
        x5c: ['AAAA'],
        x5u: 'https://evil.example/cert'
      },
      payload,
      ecdsa(attacker)
    ),
    'ES256 by a stranger under the stranger’s kid': write(
      { ...header, alg: 'ES256', kid: 'evil', jwk: { ...attackerJwk, kid: 'evil' } },
      payload,
      ecdsa(attacker)
    ),
    'ES256 in DER': write({ ...header, alg: 'ES256' }, payload, ecdsa(privateKey, 'der')),
    'the kind’s claims under the other kind’s key': write(
      kind === 'step' ? { ...header, alg: 'ES256' } : { ...header, alg: 'HS256', kid: 'k1' },
      payload,
      kind === 'step' ? ecdsa(privateKey) : hmac(stepKey, 'sha256')
    ),
    'all zeros, 32 bytes': write(header, payload, () => Buffer.alloc(32)),
    'all zeros, 64 bytes': write(header, payload, () => Buffer.alloc(64)),
    'r = s = 1': write(header, payload, () => Buffer.from('01'.padStart(64, '0').repeat(2), 'hex')),
    'no signature': write(header, payload, none),
    'signature cut by a byte': write(header, payload, (input) => parts.sign(input).subarray(1)),
    'signature cut at its end': issued.slice(0, -4),
    'signature cut to one character': issued.slice(0, issued.lastIndexOf('.') + 2),
    'signature with a byte more': write(header, payload, (input) =>
      Buffer.concat([parts.sign(input), Buffer.alloc(1)])
    ),
    'signature twice': `${issued}${signature}`,
    'signature padded': `${issued}==`,
    'signature of another text': write(header, payload, () => parts.sign('another')),
    'payload changed': [
      base64url(header),
      base64url({ ...payload, sub: OTHER_ID }),
      signature
    ].join('.'),
    'header changed': [base64url({ ...header, x: 1 }), base64url(payload), signature].join('.')
  }
}

/** Valid signatures over headers that must be rejected. */
function forgedHeaders(kind: Kind, { header, payload, sign }: Parts): Forgeries {
  const otherType = kind === 'step' ? 'at+jwt' : 'step+jwt'
  const wrong: Record<string, unknown[]> = {
    typ: [undefined, null, '', 'JWT', 'jwt', otherType, `${header.typ} `, [header.typ], 7, {}],
    kid: [
      ...[
        undefined,
        null,
        '',
        'unknown',
        [header.kid],
        { kid: header.kid },
        7,
        true,
        `${header.kid} `
      ],
      ...[
        '__proto__',
        'constructor',
        'toString',
        '../../../dev/null',
        "' OR 1=1 --",
        '\0',
        'k'.repeat(9000)
      ]
    ],
    crit: [['exp'], ['b64'], ['unknown'], [], 'exp', {}, [7], [''], ['alg'], ['kid', 'kid'], true]
  }
  const byMember = Object.entries(wrong).flatMap(([name, values]) =>
    values.map((value) => [
      `${name}: ${json(value)?.slice(0, 30)}`,
      write({ ...header, [name]: value }, payload, sign)
    ])
  )
  const raw = (text: string | Uint8Array) => write(text, payload, sign)
  const unencoded = `${base64url({ ...header, b64: false, crit: ['b64'] })}.${json(payload)}`
  return {
    ...Object.fromEntries(byMember),
    'crit b64 with an encoded payload': write(
      { ...header, b64: false, crit: ['b64'] },
      payload,
      sign
    ),
    'crit b64 with a plain payload': `${unencoded}.${Buffer.from(sign(unencoded)).toString('base64url')}`,
    'crit of a header that is there': write({ ...header, crit: ['x'], x: 1 }, payload, sign),
    'header null': raw('null'),
    'header list': raw('[]'),
    'header text': raw('"x"'),
    'header number': raw('1'),
    'header empty': raw(''),
    'header no JSON': raw('{"alg":'),
    'header after a BOM': raw(`\ufeff${json(header)}`),
    'header no UTF-8': raw(Buffer.from([0xff, 0xfe, 0x7b, 0x7d])),
    'header inherits its members': raw(`{"__proto__":${json(header)}}`),
    'header deeply nested': raw(`${'['.repeat(20_000)}${']'.repeat(20_000)}`)
  }
}

/** Valid signatures over claims that the service never issues. */
function forgedClaims(kind: Kind, { header, payload, sign }: Parts): Forgeries {
  const { iat = 0, exp = 0, aud } = payload
  const notNumbers = [undefined, null, '', 'x', true, [], {}, [iat]]
  const notTexts = [undefined, null, '', 7, true, [], {}]
  const wrong: Record<string, unknown[]> = {
    iss: [...notTexts, `${ISSUER}/`, 'https://evil.example', [ISSUER], ISSUER.toUpperCase()],
    aud: [
      ...[...notTexts, SUBJECT.audience, [SUBJECT.audience], `${ISSUER}/`, [[aud]], [null], [7]],
      ...(kind === 'step' ? [ISSUER, [ISSUER], [aud]] : ['urn:twostep:step', ISSUER])
    ],
    sub: [...notTexts, 'admin', [payload.sub], '\0', `${payload.sub} `],
    account: [...notTexts, 'x'],
    jti: [...notTexts, 'x', [payload.jti], 'x'.repeat(9000)],
    exp: [...notNumbers, String(exp), exp + 0.5, 1e300, -1, -exp, 0, iat, iat - 1, 2 ** 53],
    iat: [...notNumbers, String(iat), iat + 0.5, 1e300, -1],
    nbf: [iat + 1, iat - 1, 0, 1e300, String(iat), null, 'x'],
    epoch: [...notNumbers, '3', 1.5, -1],
    amr: [undefined, null, 'pwd', [7], {}],
    ...(kind === 'step'
      ? { purpose: [...notTexts, 'reset', ['verify']] }
      : {
          client_id: [...notTexts, OTHER_ID],
          role: [...notTexts, 'operator', ['admin']],
          email: [undefined, null, 7, {}],
          acr: [...notTexts, '2', 'urn:twostep:acr:3'],
          auth_time: [...notNumbers, String(iat), -1, 1e300]
        })
  }
  const byClaim = Object.entries(wrong).flatMap(([name, values]) =>
    values.map((value) => [
      `${name}: ${json(value)?.slice(0, 50)}`,
      write(header, { ...payload, [name]: value }, sign)
    ])
  )
  const raw = (text: string | Uint8Array) => write(header, text, sign)
  return {
    ...Object.fromEntries(byClaim),
    'payload null': raw('null'),
    'payload list': raw('[]'),
    'payload list of claims': raw(`[${json(payload)}]`),
    'payload text': raw('"x"'),
    'payload number': raw('123'),
    'payload true': raw('true'),
    'payload empty': raw(''),
    'payload empty object': raw('{}'),
    'payload no JSON': raw('{"iss":'),
    'payload not strict JSON': raw(`${json(payload)},`),
    'payload no UTF-8': raw(Buffer.from([0x7b, 0xff, 0x7d])),
    'payload inherits its claims': raw(`{"__proto__":${json(payload)}}`),
    'payload deeply nested': raw(`${'['.repeat(20_000)}${']'.repeat(20_000)}`),
    'exp beyond every number': raw(json(payload).replace(`"exp":${exp}`, '"exp":1e999')),
    'exp twice, the last one past': raw(json(payload).replace(/}$/, `,"exp":${iat - 1}}`))
  }
}

/** Texts that are not JWTs. */
function malformed({ issued, header, payload, sign, signature }: Parts): Forgeries {
  const [head = '', body = ''] = issued.split('.')
  const texts = [
    ...[
      '',
      ' ',
      '.',
      '..',
      '...',
      '....',
      'x',
      'x.x',
      'x.x.x',
      'null',
      '{}',
      '\0',
      '\ud800',
      '😀.😀.😀'
    ],
    ...[head, `${head}.`, `${head}.${body}`, `${head}.${body}.`, `.${body}.${signature}`],
    ...[`${head}..${signature}`, `${issued}.`, `.${issued}`, `${issued}.${signature}`],
    ...[`${head}.${body}.${body}.${signature}`, `${issued}.x.x`, `${head}.${body}..${signature}`],
    ...[
      ` ${issued}`,
      `${issued} `,
      `${issued}\n`,
      `${issued}\0`,
      `${issued}\t`,
      `${issued},${issued}`
    ],
    ...[
      `Bearer ${issued}`,
      `"${issued}"`,
      `${head}=.${body}.${signature}`,
      `${head}.${body}=.${signature}`
    ],
    ...[`${head}\n.${body}.${signature}`, issued.toUpperCase(), encodeURIComponent(`${issued}+`)],
    ...[
      `${head.slice(0, -1)}+.${body}.${signature}`,
      `${head}./${body}.${signature}`,
      `${head}.%.x`
    ],
    JSON.stringify({ payload: body, signatures: [{ protected: head, signature }] })
  ]
  return {
    ...Object.fromEntries(texts.map((text) => [json({ text: text.slice(0, 40) }), text])),
    '9 KB of one character': 'x'.repeat(9216),
    '9 KB of dots': '.'.repeat(9216),
    '9 KB of signature': `${head}.${body}.${'A'.repeat(9216)}`,
    '9 KB of payload under a foreign signature': `${head}.${base64url({ ...payload, x: 'x'.repeat(9216) })}.${signature}`,
    '100 KB of dots': '.'.repeat(100_000),
    '100 KB of payload': `${head}.${'A'.repeat(100_000)}.${signature}`,
    'a space after the signed text': `${write(header, payload, sign)} x`
  }
}

/** Returns `refused` if a reader rejects the token with less than 50 ms of CPU time. */
async function outcomeOf({ read }: Reader, kind: Kind, token: string) {
  const { leastMs, result } = await leastCpuTime(() => read(kind, token))
  if (result !== null) return `read as ${JSON.stringify(result).slice(0, 200)}`
  return leastMs < 50 ? 'refused' : `refused in ${leastMs} ms`
}

for (const kind of ['step', 'access'] as const) {
  t.test(`null: a forged or malformed ${kind} token, without an error`, async (t) => {
    const reader = await startReader(t)
    const parts = partsOf(kind, reader)
    const { header, payload, sign, stepKey, privateKey } = parts
    const byJose = await new CompactSign(Buffer.from(JSON.stringify(payload)))
      .setProtectedHeader(header)
      .sign(kind === 'step' ? Buffer.from(stepKey) : privateKey)
    t.strictSame(
      await reader.read(kind, byJose),
      payload,
      'a token that jose signs with our key is read'
    )
    t.strictSame(
      await reader.read(kind, write(header, payload, sign)),
      payload,
      'and one that is written by hand'
    )
    await reader.read(kind === 'step' ? 'access' : 'step', byJose)

    const forgeries = {
      ...forgedSignatures(kind, parts),
      ...forgedHeaders(kind, parts),
      ...forgedClaims(kind, parts),
      ...malformed(parts)
    }
    t.ok(Object.keys(forgeries).length >= 40)
    for (const [name, token] of Object.entries(forgeries)) {
      t.equal(await outcomeOf(reader, 'step', token), 'refused', `step reader: ${name}`)
      t.equal(await outcomeOf(reader, 'access', token), 'refused', `access reader: ${name}`)
    }
    t.strictSame(
      await reader.read(kind, byJose),
      payload,
      'and a valid one is still read afterwards'
    )
  })
}
