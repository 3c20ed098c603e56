import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign as signBytes
} from 'node:crypto'
import Fastify from 'fastify'
import {
  CompactSign,
  calculateJwkThumbprint,
  decodeJwt,
  decodeProtectedHeader,
  exportJWK,
  jwtVerify
} from 'jose'
import t, { type Test } from 'tap'
import { BY_PASSWORD, withCode } from '../../src/core/claims.ts'
import {
  PUBLISHED_BEFORE_SIGNING_SECONDS,
  TRUSTED_AFTER_SIGNING_SECONDS
} from '../../src/core/signing-key-schedule.ts'
import { deriveKey, type MasterKey, type MasterKeys } from '../../src/crypto/sealing.ts'
import { openSigningKeys } from '../../src/crypto/signing-key-ring.ts'
import { generateSigningKey, type NewSigningKey } from '../../src/crypto/signing-keys.ts'
import { createTokens, stepKeysOf } from '../../src/crypto/tokens.ts'
import type { SigningKey } from '../../src/data/keys/signing-keys.ts'
import { tokenVerification } from '../../src/plugins/credentials/token-verification.ts'
import { type Clock, createClock } from '../support/clock.ts'

const ISSUER = 'https://id.example.com'
const SUBJECT = {
  accountId: '018f4e3c-0000-7000-8000-000000000001',
  audience: 'https://api.acme.example',
  userId: '018f4e3c-0000-7000-8000-000000000002',
  email: 'ada@acme.example',
  role: 'member',
  epoch: 3
} as const
const OTHER_ID = '018f4e3c-0000-7000-8000-00000000000f'
const KEY_1: MasterKey = { id: 'k1', key: randomBytes(32) }
const KEY_2: MasterKey = { id: 'k2', key: randomBytes(32) }

/** The table of signing keys, as replicas share it; the database's clock is that of whoever reads it last. */
function createTable() {
  const rows: SigningKey[] = []
  const table = {
    rows,
    reads: 0,
    failure: null as Error | null,
    clock: createClock(),
    async list() {
      table.reads++
      if (table.failure) throw table.failure
      return { keys: [...rows], at: table.clock.now() }
    },
    async createFirst(key: NewSigningKey) {
      if (rows.length === 0) table.add(key, table.clock.now())
    },
    async forget(ids: readonly string[]) {
      const kept = rows.filter(({ id }) => !ids.includes(id))
      return rows.splice(0, rows.length, ...kept).length - kept.length
    },
    add({ id, sealedPrivateKey }: NewSigningKey, signsFrom: Date) {
      rows.push({ id, sealedPrivateKey, createdAt: table.clock.now(), signsFrom })
    }
  }
  return table
}

interface Settings {
  masterKeys?: MasterKeys
  table?: ReturnType<typeof createTable>
  clock?: Clock
  issuer?: string
}

/** A service that does nothing but read tokens. */
async function startReader(t: Test, settings: Settings = {}) {
  const { masterKeys = [KEY_1], clock = createClock(), issuer = ISSUER } = settings
  const table = settings.table ?? createTable()
  const { now } = clock
  table.clock = clock
  const signingKeys = await openSigningKeys({ stored: table, masterKeys, now })
  const tokens = createTokens({ issuer, masterKeys, signingKeys, now })
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(tokenVerification, { issuer, stepKeys: stepKeysOf(masterKeys), signingKeys })
  app.post<{ Body: { token: string } }>('/step', async (request) => ({
    claims: await tokens.readStepToken(request, request.body.token)
  }))
  app.post<{ Body: { token: string } }>('/access', async (request) => ({
    claims: await tokens.readAccessToken(request, request.body.token)
  }))

  async function read(kind: Kind, token: string) {
    const answer = await app.inject({ method: 'POST', url: `/${kind}`, payload: { token } })
    return answer.statusCode === 200 ? answer.json().claims : answer.statusCode
  }
  return { tokens, signingKeys, table, clock, read }
}
type Reader = Awaited<ReturnType<typeof startReader>>
type Kind = 'step' | 'access'

const base64url = (part: unknown) =>
  Buffer.from(part instanceof Uint8Array ? part : json(part)).toString('base64url')
const json = (part: unknown) => (typeof part === 'string' ? part : JSON.stringify(part))
const hmac = (key: string | Uint8Array, hash: string) => (input: string) =>
  createHmac(hash, key).update(input).digest()
const ecdsa =
  (key: KeyObject, dsaEncoding: 'ieee-p1363' | 'der' = 'ieee-p1363') =>
  (input: string) =>
    signBytes('sha256', Buffer.from(input), { key, dsaEncoding })

type Sign = (input: string) => Uint8Array
/** Writes a token by hand, in whatever form; a text stands for itself, an object for its JSON. */
function write(header: unknown, payload: unknown, sign: Sign): string {
  const input = `${base64url(header)}.${base64url(payload)}`
  return `${input}.${Buffer.from(sign(input)).toString('base64url')}`
}

/** What a good token of a kind is made of, taken from one that the service has issued. */
function partsOf(kind: Kind, { tokens, signingKeys }: Reader) {
  const { kid, privateKeyPem } = signingKeys.current()
  const stepKey = deriveKey(KEY_1, 'step-token').toString('base64url')
  const privateKey = createPrivateKey(privateKeyPem)
  const issued =
    kind === 'step'
      ? tokens.issueStepToken(SUBJECT, 'verify', ['pwd']).stepToken
      : tokens.issueAccessToken(SUBJECT, withCode(['pwd'])).accessToken
  const [, , signature = ''] = issued.split('.')
  return {
    ...{ issued, signature, stepKey, privateKey, payload: decodeJwt(issued) },
    header:
      kind === 'step'
        ? { alg: 'HS256', typ: 'step+jwt', kid: 'k1' }
        : { alg: 'ES256', typ: 'at+jwt', kid },
    sign: kind === 'step' ? hmac(stepKey, 'sha256') : ecdsa(privateKey)
  }
}
type Parts = ReturnType<typeof partsOf>
type Forgeries = Record<string, string>

/** Tokens signed by anything but the kind's own key and algorithm. */
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
    'alg none under the good signature': `${base64url({ ...header, alg: 'none' })}.${base64url(payload)}.${signature}`,
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
    'ES256 by a stranger, with his key as jwk': write(
      { ...header, alg: 'ES256', jwk: attackerJwk },
      payload,
      ecdsa(attacker)
    ),
    'ES256 by a stranger, with jku, x5u and x5c': write(
      {
        ...{ ...header, alg: 'ES256', jku: 'https://evil.example/jwks', x5c: ['AAAA'] },
        ...{ x5u: 'https://evil.example/cert' }
      },
      payload,
      ecdsa(attacker)
    ),
    'ES256 by a stranger under his own kid': write(
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

/** Good signatures over headers that must not be believed. */
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

/** Good signatures over claims that this service never makes. */
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

/** What is not even a JWT. */
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

/** Whether a reader refuses the token, and within 50 ms; what else the machine does can only slow it. */
async function refuses({ read }: Reader, kind: Kind, token: string) {
  let quickest = Number.POSITIVE_INFINITY
  for (let run = 0; run < 3 && quickest >= 50; run++) {
    const before = performance.now()
    const answer = await read(kind, token)
    if (answer !== null) return `answered ${JSON.stringify(answer).slice(0, 200)}`
    quickest = Math.min(quickest, performance.now() - before)
  }
  return quickest < 50 ? 'refused' : `refused in ${quickest} ms`
}

for (const kind of ['step', 'access'] as const) {
  t.test(`no forged or odd ${kind} token is read, and none is an error`, async (t) => {
    const reader = await startReader(t)
    const parts = partsOf(kind, reader)
    const { header, payload, sign, stepKey, privateKey } = parts
    const byJose = await new CompactSign(Buffer.from(JSON.stringify(payload)))
      .setProtectedHeader(header)
      .sign(kind === 'step' ? Buffer.from(stepKey) : privateKey)
    t.strictSame(await reader.read(kind, byJose), payload, 'what jose signs with our key is read')
    t.strictSame(await reader.read(kind, write(header, payload, sign)), payload, 'by hand, too')
    await reader.read(kind === 'step' ? 'access' : 'step', byJose)

    const forgeries = {
      ...forgedSignatures(kind, parts),
      ...forgedHeaders(kind, parts),
      ...forgedClaims(kind, parts),
      ...malformed(parts)
    }
    t.ok(Object.keys(forgeries).length >= 40)
    for (const [name, token] of Object.entries(forgeries)) {
      t.equal(await refuses(reader, 'step', token), 'refused', `step reader: ${name}`)
      t.equal(await refuses(reader, 'access', token), 'refused', `access reader: ${name}`)
    }
    t.strictSame(await reader.read(kind, byJose), payload, 'and a good one is still read after all')
  })
}

t.test('what is issued is read, with exactly its claims, by its own reader only', async (t) => {
  const { tokens, read, signingKeys } = await startReader(t)
  for (const purpose of ['verify', 'enroll'] as const) {
    const { stepToken, expiresInSeconds } = tokens.issueStepToken(SUBJECT, purpose, ['pwd'])
    const claims = await read('step', stepToken)
    t.match(claims, { iss: ISSUER, sub: SUBJECT.userId, purpose, amr: ['pwd'], epoch: 3 })
    t.equal(claims.exp - claims.iat, expiresInSeconds)
    t.equal(await read('access', stepToken), null)
  }
  const { accessToken, expiresIn } = tokens.issueAccessToken(SUBJECT, BY_PASSWORD)
  const claims = await read('access', accessToken)
  t.match(claims, { iss: ISSUER, aud: [ISSUER, SUBJECT.audience], acr: 'urn:twostep:acr:1' })
  t.equal(claims.exp - claims.iat, expiresIn)
  t.equal(await read('step', accessToken), null)
  const ids = Array.from(
    { length: 50 },
    () => decodeJwt(tokens.issueAccessToken(SUBJECT, BY_PASSWORD).accessToken).jti
  )
  t.equal(new Set(ids).size, 50, 'every token has its own id')

  const [jwk] = signingKeys.jwks().keys
  const key = createPublicKey({ key: { ...jwk }, format: 'jwk' })
  const verified = await jwtVerify(accessToken, key, {
    ...{ issuer: ISSUER, audience: SUBJECT.audience, typ: 'at+jwt', algorithms: ['ES256'] },
    currentDate: createClock().now()
  })
  t.equal(verified.protectedHeader.kid, jwk?.kid, 'and a host reads it by the JWKS')
})

t.test('a token is read up to its last second', async (t) => {
  const { tokens, read, clock } = await startReader(t)
  const { stepToken, expiresInSeconds } = tokens.issueStepToken(SUBJECT, 'verify', ['pwd'])
  const { accessToken, expiresIn } = tokens.issueAccessToken(SUBJECT, BY_PASSWORD)
  clock.advance({ seconds: expiresInSeconds - 1 })
  t.ok(await read('step', stepToken))
  clock.advance({ seconds: 1 })
  t.equal(await read('step', stepToken), null)
  clock.advance({ seconds: expiresIn - expiresInSeconds - 1 })
  t.ok(await read('access', accessToken))
  clock.advance({ seconds: 1 })
  t.equal(await read('access', accessToken), null)
})

t.test('a deployment with another issuer over the same keys is another', async (t) => {
  const table = createTable()
  const ours = await startReader(t, { table })
  const theirs = await startReader(t, { table, issuer: 'https://other.example.com' })
  const { stepToken } = theirs.tokens.issueStepToken(SUBJECT, 'verify', ['pwd'])
  const { accessToken } = theirs.tokens.issueAccessToken(SUBJECT, BY_PASSWORD)
  t.ok(await theirs.read('step', stepToken))
  t.ok(await theirs.read('access', accessToken))
  t.equal(await ours.read('step', stepToken), null)
  t.equal(await ours.read('access', accessToken), null)
})

t.test('after a rotation of the master keys earlier tokens are still read', async (t) => {
  const table = createTable()
  const before = await startReader(t, { table })
  const after = await startReader(t, { table, masterKeys: [KEY_2, KEY_1] })
  const without = createTable()
  const gone = await startReader(t, { table: without, masterKeys: [KEY_2] })
  const { stepToken } = before.tokens.issueStepToken(SUBJECT, 'verify', ['pwd'])
  const { accessToken } = before.tokens.issueAccessToken(SUBJECT, BY_PASSWORD)
  t.ok(await after.read('step', stepToken))
  t.ok(await after.read('access', accessToken))
  t.equal(
    await gone.read('step', stepToken),
    null,
    'and no longer when the ring has dropped the key'
  )
  const { stepToken: newer } = after.tokens.issueStepToken(SUBJECT, 'verify', ['pwd'])
  t.ok(await after.read('step', newer))
  t.equal(await before.read('step', newer), null)
})

/** Another replica's set of signing keys, in which there is one more. */
async function rotate(t: Test, table: ReturnType<typeof createTable>, clock: Clock) {
  const fresh = createTable()
  await startReader(t, { table: fresh, clock })
  table.rows.push(...fresh.rows)
  return startReader(t, { table, clock })
}

t.test('a token by a key that another replica has made is read after a reload', async (t) => {
  const reader = await startReader(t)
  const { table, clock, read, signingKeys } = reader
  const { accessToken: older } = reader.tokens.issueAccessToken(SUBJECT, BY_PASSWORD)
  const olderKid = signingKeys.current().kid
  clock.advance({ seconds: 5 })
  const other = await rotate(t, table, clock)
  const { accessToken: newer } = other.tokens.issueAccessToken(SUBJECT, BY_PASSWORD)
  t.not(other.signingKeys.current().kid, olderKid)
  t.ok(await other.read('access', older), 'by an older key of the set')

  const reads = table.reads
  clock.advance({ seconds: 4 })
  t.equal(await read('access', newer), null, 'nine seconds after the last load')
  t.equal(table.reads, reads)
  clock.advance({ seconds: 1 })
  t.ok(await read('access', newer), 'ten seconds after it')
  t.equal(table.reads, reads + 1)
  t.ok(await read('access', older))
  t.equal(
    signingKeys.current().kid,
    other.signingKeys.current().kid,
    'and signs with it from then on'
  )
  const { accessToken } = reader.tokens.issueAccessToken(SUBJECT, BY_PASSWORD)
  t.ok(await read('access', accessToken))
  const kids = [signingKeys.current().kid, olderKid]
  for (const { jwks } of [signingKeys, other.signingKeys]) {
    t.strictSame(
      jwks().keys.map(({ kid }) => kid),
      kids,
      'newest first, and the older one while its tokens live'
    )
  }
})

/** Stores a key that signs when every replica and every cache knows it, as a rotation does. */
function addNext(table: ReturnType<typeof createTable>, masterKeys: MasterKeys = [KEY_1]): string {
  const key = generateSigningKey(masterKeys)
  const signsFrom = table.clock.now().getTime() + PUBLISHED_BEFORE_SIGNING_SECONDS * 1000
  table.add(key, new Date(signsFrom))
  return key.id
}

const kidsOf = ({ signingKeys }: Reader) => signingKeys.jwks().keys.map(({ kid }) => kid)

t.test(
  'a new key is published, then signs, and the old one is trusted for as long as its tokens live',
  async (t) => {
    const reader = await startReader(t)
    const { tokens, signingKeys, table, clock, read } = reader
    const older = signingKeys.current().kid
    const newer = addNext(table)
    await signingKeys.keepUp()
    t.strictSame(kidsOf(reader), [older, newer], 'published, behind the one that signs')
    t.equal(signingKeys.current().kid, older)

    clock.advance({ seconds: PUBLISHED_BEFORE_SIGNING_SECONDS - 1 })
    await signingKeys.keepUp()
    t.equal(signingKeys.current().kid, older)
    const { accessToken: last } = tokens.issueAccessToken(SUBJECT, BY_PASSWORD)
    clock.advance({ seconds: 1 })
    await signingKeys.keepUp()
    t.strictSame(kidsOf(reader), [newer, older])
    const { accessToken: first } = tokens.issueAccessToken(SUBJECT, BY_PASSWORD)
    t.equal(decodeProtectedHeader(first).kid, newer)
    t.ok(await read('access', last))
    t.ok(await read('access', first))

    clock.advance({ seconds: TRUSTED_AFTER_SIGNING_SECONDS - 1 })
    await signingKeys.keepUp()
    t.strictSame(kidsOf(reader), [newer, older])
    clock.advance({ seconds: 1 })
    await signingKeys.keepUp()
    t.strictSame(kidsOf(reader), [newer])
    t.strictSame(
      table.rows.map(({ id }) => id),
      [newer],
      'and its row is gone'
    )
    await signingKeys.keepUp()
    t.equal(table.rows.length, 1)
  }
)

t.test('a key that was replaced at once is believed no more', async (t) => {
  const reader = await startReader(t)
  const { tokens, signingKeys, table, clock, read } = reader
  const { accessToken } = tokens.issueAccessToken(SUBJECT, BY_PASSWORD)
  const leaked = signingKeys.current().kid
  table.rows.splice(0)
  table.add(generateSigningKey([KEY_1]), clock.now())
  t.ok(await read('access', accessToken))
  await signingKeys.keepUp()
  t.notOk(kidsOf(reader).includes(leaked))
  t.equal(await read('access', accessToken), null)
  t.ok(await read('access', tokens.issueAccessToken(SUBJECT, BY_PASSWORD).accessToken))
})

t.test('a key that the ring can’t open is named, and takes no other with it', async (t) => {
  const reader = await startReader(t)
  const { signingKeys, table, clock, read } = reader
  const { header, payload, sign, issued } = partsOf('access', reader)
  const kid = addNext(table, [KEY_2])
  await t.rejects(signingKeys.keepUp(), { name: 'UnsealError', message: /"k2"/ })
  clock.advance({ seconds: 10 })
  t.equal(await read('access', write({ ...header, kid }, payload, sign)), null)
  t.ok(await read('access', issued))
  t.equal(signingKeys.current().kid, header.kid)

  table.rows.splice(0, 1)
  await t.rejects(signingKeys.keepUp(), { name: 'UnsealError' }, 'and where there is no other')
  t.ok(await read('access', issued), 'all stays as it is')
})

t.test('a clock that is set back doesn’t put the reload off', async (t) => {
  const { table, clock, read } = await startReader(t)
  clock.advance({ seconds: 5 })
  const other = await rotate(t, table, clock)
  const { accessToken } = other.tokens.issueAccessToken(SUBJECT, BY_PASSWORD)
  t.equal(await read('access', accessToken), null)
  clock.advance({ minutes: -60 })
  t.ok(await read('access', accessToken))
})

t.test('forged tokens make us read the keys at most once in ten seconds', async (t) => {
  const reader = await startReader(t)
  const { table, clock, read } = reader
  const { header, payload, sign } = partsOf('access', reader)
  const forge = (index: number) => write({ ...header, kid: `unknown-${index}` }, payload, sign)
  const reads = table.reads
  for (let second = 1; second <= 60; second++) {
    clock.advance({ seconds: 1 })
    const answers = await Promise.all(
      [0, 1, 2].map((index) => read('access', forge(second * 3 + index)))
    )
    t.strictSame(answers, [null, null, null])
  }
  t.equal(table.reads, reads + 6)
})

t.test('without the database known keys still read, and unknown ones are no verdict', async (t) => {
  const reader = await startReader(t)
  const { table, clock, read } = reader
  const { header, payload, sign, issued } = partsOf('access', reader)
  const unknown = write({ ...header, kid: 'unknown' }, payload, sign)
  const gone = Object.assign(new Error('gone'), { code: 'P1001' })
  for (const failure of [gone, new Error('Connection terminated unexpectedly')]) {
    clock.advance({ seconds: 10 })
    table.failure = failure
    t.ok(await read('access', issued))
    t.equal(await read('access', unknown), 500, 'the error reaches the handler, which knows it')
  }
  table.failure = null
  clock.advance({ seconds: 10 })
  t.equal(await read('access', unknown), null)
})

t.test('the first key is made once, sealed, and published without its private half', async (t) => {
  const table = createTable()
  const [one, other] = await Promise.all([startReader(t, { table }), startReader(t, { table })])
  t.equal(table.rows.length, 1)
  t.strictSame(one.signingKeys.jwks(), other.signingKeys.jwks())
  const [jwk] = one.signingKeys.jwks().keys
  t.strictSame(Object.keys(jwk ?? {}).sort(), ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'])
  t.match(jwk, { kty: 'EC', crv: 'P-256', alg: 'ES256', use: 'sig' })
  const privateKey = createPrivateKey(one.signingKeys.current().privateKeyPem)
  t.equal(jwk?.kid, await calculateJwkThumbprint(await exportJWK(createPublicKey(privateKey))))
  const { d = '' } = privateKey.export({ format: 'jwk' })
  t.notOk(JSON.stringify(table.rows).includes(d))
  await t.rejects(startReader(t, { table, masterKeys: [KEY_2] }), { name: 'UnsealError' })
})
