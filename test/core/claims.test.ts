import { inspect } from 'node:util'
import t from 'tap'
import {
  type AccessClaims,
  accessClaims,
  byAssertedSso,
  byPassword,
  FRESH_SECONDS,
  firstFactorIn,
  firstFactorOfStep,
  isFresh,
  isRecent,
  judgeAccessClaims,
  judgeStepClaims,
  type StepClaims,
  stepClaims,
  withCode,
  withRecoveryCode
} from '../../src/core/claims.ts'

const ISSUER = 'https://id.example.com'
const SUBJECT = {
  accountId: '018f4e3c-0000-7000-8000-000000000001',
  audience: 'https://api.acme.example',
  userId: '018f4e3c-0000-7000-8000-000000000002',
  email: 'ada@acme.example',
  role: 'admin',
  epoch: 3
} as const
const JTI = '018f4e3c-0000-7000-8000-000000000003'
const OTHER_ID = '018f4e3c-0000-7000-8000-00000000000f'
/** Not a whole second, because a NumericDate is rounded down. */
const NOON = new Date('2030-01-02T12:00:00.999Z')
const IAT = Date.parse('2030-01-02T12:00:00Z') / 1000
const atSecond = (seconds: number, ms = 0) => new Date(seconds * 1000 + ms)

/** Four minutes before noon. */
const FIRST_AT = IAT - 240
const PASSWORD = byPassword(atSecond(FIRST_AT))
const { firstFactor } = PASSWORD

const verifyClaims = stepClaims(SUBJECT, 'verify', {
  issuer: ISSUER,
  jti: JTI,
  amr: ['pwd'],
  firstFactor,
  now: NOON
})
const signedIn = accessClaims(SUBJECT, withCode(PASSWORD), { issuer: ISSUER, jti: JTI, now: NOON })

t.test('a step token contains its user, purpose and expiry', async (t) => {
  const expected = {
    iss: ISSUER,
    aud: 'urn:twostep:step',
    sub: SUBJECT.userId,
    account: SUBJECT.accountId,
    purpose: 'verify',
    amr: ['pwd'],
    pwd_time: FIRST_AT,
    epoch: 3,
    jti: JTI,
    iat: IAT,
    exp: IAT + 300
  }
  t.strictSame(verifyClaims, expected)
  t.strictSame(
    stepClaims(SUBJECT, 'enroll', {
      ...{ issuer: ISSUER, jti: JTI, amr: ['pwd'] },
      firstFactor,
      now: NOON
    }),
    { ...expected, purpose: 'enroll', exp: IAT + 600 }
  )
})

t.test('an access token has the claims of RFC 9068 and our own', async (t) => {
  const expected = {
    iss: ISSUER,
    aud: [ISSUER, 'https://api.acme.example'],
    client_id: SUBJECT.accountId,
    sub: SUBJECT.userId,
    account: SUBJECT.accountId,
    role: 'admin',
    email: 'ada@acme.example',
    amr: ['pwd', 'otp', 'mfa'],
    acr: 'urn:twostep:acr:2',
    auth_time: IAT,
    pwd_time: FIRST_AT,
    epoch: 3,
    jti: JTI,
    iat: IAT,
    exp: IAT + 900
  }
  t.strictSame(signedIn, expected)
  t.strictSame(accessClaims(SUBJECT, PASSWORD, { issuer: ISSUER, jti: JTI, now: NOON }), {
    ...expected,
    amr: ['pwd'],
    acr: 'urn:twostep:acr:1'
  })
})

t.test('claims do not change with the values that they were made from', async (t) => {
  const amr = ['pwd']
  const of = { issuer: ISSUER, jti: JTI, firstFactor, now: NOON }
  const claims = stepClaims(SUBJECT, 'verify', { ...of, amr })
  amr.push('otp')
  t.strictSame(claims.amr, ['pwd'])
})

const judgeStep = (payload: unknown, now = NOON) =>
  judgeStepClaims(payload, { issuer: ISSUER, now })
const judgeAccess = (payload: unknown, now = NOON) =>
  judgeAccessClaims(payload, { issuer: ISSUER, now })

t.test('valid claims are returned unchanged, including unknown members', async (t) => {
  t.strictSame(judgeStep(verifyClaims), verifyClaims)
  t.strictSame(judgeStep({ ...verifyClaims, purpose: 'enroll' })?.purpose, 'enroll')
  t.strictSame(judgeAccess(signedIn), signedIn)
  t.strictSame(judgeAccess({ ...signedIn, role: 'member' })?.role, 'member')
  t.ok(judgeAccess({ ...signedIn, scope: 'x' }))
  t.ok(judgeAccess({ ...signedIn, aud: [...signedIn.aud].reverse() }), 'in any order')
})

/** Values that are invalid for every claim. */
const MISTYPED = [undefined, null, true, {}, [[]], 1.5, -1, Number.NaN, Number.POSITIVE_INFINITY]
const NUMERIC = ['epoch', 'iat', 'exp', 'auth_time', 'pwd_time']
/** Claims that a token of an earlier release lacks. */
const OPTIONAL = ['pwd_time']

/** Returns the claims with one missing, of a wrong type, or with a plausible foreign value. */
function mutationsOf(claims: object, foreign: Record<string, unknown[]>): [string, object][] {
  return Object.entries(claims).flatMap(([name, value]) => {
    const { [name]: _, ...without } = claims as Record<string, unknown>
    const isNumeric = NUMERIC.includes(name)
    const mistyped = [...MISTYPED, ...(isNumeric ? ['', String(value), [value]] : [7, [7]])]
    const mutated = [...mistyped, ...(foreign[name] ?? [])].map((wrong): [string, object] => [
      `${name}: ${inspect(wrong)}`,
      { ...claims, [name]: wrong }
    ])
    if (OPTIONAL.includes(name)) return mutated.filter(([title]) => !title.endsWith('undefined'))
    return [[`without ${name}`, without], ...mutated] as [string, object][]
  })
}

const FOREIGN_IDS = [
  ...[
    JTI.toUpperCase(),
    `${JTI}\n`,
    ` ${JTI}`,
    `{${JTI}}`,
    JTI.replaceAll('-', ''),
    [JTI],
    'admin',
    ''
  ]
]
const SHARED_FOREIGN = {
  iss: [
    `${ISSUER}/`,
    'http://id.example.com',
    'https://ID.example.com',
    'https://evil.example',
    [ISSUER],
    ''
  ],
  sub: FOREIGN_IDS,
  account: FOREIGN_IDS,
  jti: FOREIGN_IDS,
  amr: ['pwd', [7], ['pwd', null], { 0: 'pwd' }],
  epoch: ['3', 3.000001],
  iat: [1e300, 253_402_300_800],
  exp: [IAT, IAT - 1, 0, 1e300, 253_402_300_800, -Number.MAX_VALUE]
}

t.test('null: a step token with a claim that is missing, of a wrong type or foreign', async (t) => {
  const mutations = mutationsOf(verifyClaims, {
    ...SHARED_FOREIGN,
    aud: ['urn:twostep:Step', ISSUER, ['urn:twostep:step'], 'urn:twostep:step '],
    purpose: ['Verify', 'reset', 'verify ', ['verify']]
  })
  t.ok(mutations.length >= 25)
  for (const [name, payload] of mutations) t.equal(judgeStep(payload), null, name)
})

t.test(
  'null: an access token with a claim that is missing, of a wrong type or foreign',
  async (t) => {
    const mutations = mutationsOf(signedIn, {
      ...SHARED_FOREIGN,
      aud: [ISSUER, [SUBJECT.audience], [`${ISSUER}/`], [ISSUER, 7], [[ISSUER]]],
      client_id: [...FOREIGN_IDS, OTHER_ID],
      account: [...FOREIGN_IDS, OTHER_ID],
      role: ['Admin', 'operator', 'root', ['admin'], 'admin '],
      acr: ['urn:twostep:acr:3', '2', 2, ['urn:twostep:acr:2']],
      auth_time: [1e300]
    })
    t.ok(mutations.length >= 25)
    for (const [name, payload] of mutations) t.equal(judgeAccess(payload), null, name)
  }
)

t.test('null: a payload that is no object of claims, and the other kind of token', async (t) => {
  for (const payload of [undefined, null, 0, '', 'x', [], [verifyClaims], () => verifyClaims, {}]) {
    t.equal(judgeStep(payload), null)
    t.equal(judgeAccess(payload), null)
  }
  t.equal(judgeStep(signedIn), null)
  t.equal(judgeAccess(verifyClaims), null)
  t.equal(judgeStep({ ...signedIn, purpose: 'verify' }), null)
})

t.test('a token is valid until its last second', async (t) => {
  for (const [claims, judge] of [
    [verifyClaims, judgeStep],
    [signedIn, judgeAccess]
  ] as const) {
    t.ok(judge(claims, atSecond(claims.exp, -1)))
    t.equal(judge(claims, atSecond(claims.exp)), null)
    t.equal(judge(claims, atSecond(claims.exp, 999)), null)
    t.equal(judge(claims, atSecond(claims.exp + 86_400 * 365)), null)
    t.ok(judge(claims, atSecond(claims.iat - 5)), 'a replica whose clock is behind accepts it')
  }
})

t.test('null: a token with any nbf, since we never issue one', async (t) => {
  for (const nbf of [0, IAT - 1, IAT, IAT + 1, IAT + 1e6, '0', null, Number.NaN, [], {}]) {
    t.equal(judgeStep({ ...verifyClaims, nbf }), null, `${JSON.stringify(nbf)}`)
    t.equal(judgeAccess({ ...signedIn, nbf }), null, `${JSON.stringify(nbf)}`)
  }
})

t.test('a sign-in with two factors is fresh for exactly ten minutes', async (t) => {
  const claims = signedIn
  const byPassword = { ...claims, acr: 'urn:twostep:acr:1' } as const
  t.equal(FRESH_SECONDS, 600)
  for (const [now, fresh] of [
    [atSecond(IAT), true],
    [atSecond(IAT + 599), true],
    [atSecond(IAT + 600, 999), true],
    [atSecond(IAT + 601), false],
    [atSecond(IAT + 86_400), false]
  ] as const) {
    t.equal(isRecent(claims, now), fresh, now.toISOString())
    t.equal(isFresh(claims, now), fresh, now.toISOString())
    t.equal(isRecent(byPassword, now), fresh, 'one factor is recent')
    t.equal(isFresh(byPassword, now), false, 'but never fresh')
  }
})

t.test('freshness counts from the sign-in, not from the issue of the token', async (t) => {
  const old: AccessClaims = { ...signedIn, iat: IAT + 1000, exp: IAT + 1900 }
  t.equal(isFresh(old, atSecond(IAT + 1000)), false)
})

t.test('amr lists every method once', async (t) => {
  const of = (amr: string[]) => ({ amr, firstFactor })
  t.strictSame(PASSWORD, { ...of(['pwd']), twoFactors: false })
  const byCode = withCode(PASSWORD)
  const byRecoveryCode = withRecoveryCode(PASSWORD)
  t.strictSame(byCode, { ...of(['pwd', 'otp', 'mfa']), twoFactors: true })
  t.strictSame(byRecoveryCode, { ...of(['pwd', 'mfa', 'rc']), twoFactors: true })
  t.strictSame(withCode(byRecoveryCode), byCode, 'a code after a recovery code')
  t.strictSame(withCode(byCode), byCode, 'a second code')
  t.strictSame(withRecoveryCode(byCode), byRecoveryCode)
  t.strictSame(withRecoveryCode(byRecoveryCode), byRecoveryCode)
  t.strictSame(withCode(of([])).amr, ['otp', 'mfa'])
  t.strictSame(withCode(of(['sso', 'pwd'])).amr, ['sso', 'pwd', 'otp', 'mfa'], 'the first stays')
})

t.test('a code after a password has the same amr as the access token', async (t) => {
  const amrOf = ({ amr }: StepClaims) => withCode({ amr, firstFactor }).amr
  t.strictSame(amrOf(verifyClaims), signedIn.amr)
})

t.test('a step keeps the first factor: password or provider, and its time', async (t) => {
  const sso = byAssertedSso('https://login.acme.example', atSecond(FIRST_AT))
  const bySso = accessClaims(SUBJECT, withCode(sso), { issuer: ISSUER, jti: JTI, now: NOON })
  t.match(bySso, { sso_time: FIRST_AT, sso_iss: 'https://login.acme.example', auth_time: IAT })
  t.equal(bySso.pwd_time, undefined)
  t.strictSame(firstFactorIn(bySso), sso.firstFactor)
  t.strictSame(firstFactorIn(signedIn), firstFactor)
  t.strictSame(firstFactorOfStep(verifyClaims), firstFactor)
})

t.test(
  'of a token of an earlier release, only a step token implies its first factor',
  async (t) => {
    const { pwd_time: _access, ...oldAccess } = signedIn
    const { pwd_time: _step, ...oldStep } = verifyClaims
    t.equal(firstFactorIn(oldAccess), null)
    t.ok(judgeAccess(oldAccess), 'the token stays valid')
    const at = atSecond(IAT)
    t.strictSame(firstFactorOfStep(oldStep), { kind: 'password', at, issuer: null })
    const link = { issuer: 'https://i.example', clientId: 'c', subject: 's', email: null }
    const bySso = { kind: 'sso', at, issuer: 'https://i.example' }
    t.strictSame(firstFactorOfStep({ ...oldStep, sso_link: link }), bySso)
  }
)
