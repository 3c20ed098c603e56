import { deepStrictEqual, match } from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import {
  issuerLabel,
  matchCode,
  measureClockSkew,
  otpauthUri,
  setupKey,
  timeStepAt
} from '../../src/core/totp.ts'
import { codeAt, decodeBase32 } from '../support/rfc6238.ts'

/** The seed of RFC 6238 appendix B. */
const SECRET = Buffer.from('12345678901234567890')
const SETUP_KEY = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ'
const PERIOD_MS = 30_000

const middleOf = (timeStep: number) => new Date(timeStep * PERIOD_MS + 13_579)
const codeOf = (timeStep: number) => codeAt({ secret: SETUP_KEY }, middleOf(timeStep))
const NOON = new Date('2030-01-02T12:00:17.250Z')
const CURRENT = Math.floor(NOON.getTime() / PERIOD_MS)

const judge = (code: string, at = NOON, lastTimeStep: number | null = null) =>
  matchCode({ secret: SECRET, code, at, lastTimeStep })

t.test(
  'known answer: the codes of RFC 6238 appendix B are accepted in their time steps',
  async (t) => {
    for (const [seconds, code] of [
      [59, '287082'],
      [1111111109, '081804'],
      [1111111111, '050471'],
      [1234567890, '005924'],
      [2000000000, '279037'],
      [20000000000, '353130']
    ] as const) {
      t.same(judge(code, new Date(seconds * 1000)), {
        accepted: true,
        timeStep: Math.floor(seconds / 30)
      })
    }
  }
)

t.test('the window is the current time step and exactly one on each side', async (t) => {
  const steps = Array.from({ length: 81 }, (_, index) => CURRENT - 40 + index)
  const accepted = steps.filter((timeStep) => judge(codeOf(timeStep)).accepted)
  t.same(accepted, [CURRENT - 1, CURRENT, CURRENT + 1])
  for (const timeStep of accepted) {
    t.same(judge(codeOf(timeStep)), { accepted: true, timeStep }, 'with its time step')
  }
})

t.test('the window moves at the first millisecond of a time step', async (t) => {
  const code = codeOf(CURRENT)
  const opens = (CURRENT - 1) * PERIOD_MS
  const closes = (CURRENT + 2) * PERIOD_MS
  for (const [at, accepted] of [
    [opens - 1, false],
    [opens, true],
    [closes - 1, true],
    [closes, false]
  ] as const) {
    t.equal(judge(code, new Date(at)).accepted, accepted, new Date(at).toISOString())
  }
})

t.test('no time step is before the first one of 1970', async (t) => {
  t.same(judge(codeOf(0), new Date(0)), { accepted: true, timeStep: 0 })
  t.same(judge(codeOf(1), new Date(0)), { accepted: true, timeStep: 1 })
  t.same(judge(codeOf(2), new Date(0)), { accepted: false, reason: 'mismatch' })
  t.equal(measureClockSkew({ secret: SECRET, code: codeOf(3), at: new Date(0) }), 90)
})

t.test('a time step is rejected as replayed if it is not later than the last one', async (t) => {
  for (const [offset, last, accepted] of [
    [0, CURRENT, false],
    [0, CURRENT + 1, false],
    [0, CURRENT - 1, true],
    [-1, CURRENT - 1, false],
    [-1, CURRENT, false],
    [-1, CURRENT - 2, true],
    [1, CURRENT, true],
    [1, CURRENT + 1, false],
    [1, CURRENT + 1000, false]
  ] as const) {
    const answer = judge(codeOf(CURRENT + offset), NOON, last)
    const expected = accepted
      ? { accepted, timeStep: CURRENT + offset }
      : { accepted, reason: 'replayed' }
    t.same(answer, expected, `step ${offset}, last ${last - CURRENT}`)
  }
  t.same(judge(codeOf(CURRENT + 2), NOON, CURRENT), { accepted: false, reason: 'mismatch' })
  t.same(
    judge(codeOf(0), new Date(0), 0),
    { accepted: false, reason: 'replayed' },
    'time step 0 counts'
  )
})

// A search found these: the secret has the same code in two time steps of one window.
t.test(
  'of two time steps with the same code, the later is accepted after the earlier one was used',
  async (t) => {
    for (const [earlier, later, code] of [
      [65343997, 65343998, '896878'],
      [63266190, 63266192, '877900']
    ] as const) {
      t.same([codeOf(earlier), codeOf(later)], [code, code])
      const at = middleOf(later - 1)
      t.same(judge(code, at), { accepted: true, timeStep: earlier })
      t.same(judge(code, at, earlier - 1), { accepted: true, timeStep: earlier })
      t.same(judge(code, at, earlier), { accepted: true, timeStep: later })
      t.same(judge(code, at, later - 1), { accepted: true, timeStep: later })
      t.same(judge(code, at, later), { accepted: false, reason: 'replayed' })
    }
  }
)

t.test('text other than six ASCII digits never matches and never throws', async (t) => {
  const good = codeOf(CURRENT)
  const fullWidth = String.fromCodePoint(...[...good].map((digit) => 0xff10 + Number(digit)))
  const arabic = String.fromCodePoint(...[...good].map((digit) => 0x0660 + Number(digit)))
  const malformed = [
    ...['', ' ', '\0', 'abcdef', '-12345', '+12345', '12.345', '1e5', '0x1234', 'NaN', 'null'],
    ...[` ${good}`, `${good} `, `${good}\n`, `${good}\0`, `${good.slice(0, 3)} ${good.slice(3)}`],
    ...[good.slice(0, 5), good.slice(1), `0${good}`, `${good}0`, good + good],
    ...[fullWidth, arabic, '١٢٣', 'é1234', '\ud800', '😀12', '１2345', '²³¹²³¹'],
    '1'.repeat(10_000)
  ]
  for (const code of malformed) {
    t.same(judge(code), { accepted: false, reason: 'mismatch' }, JSON.stringify(code.slice(0, 20)))
    t.equal(measureClockSkew({ secret: SECRET, code, at: NOON }), null)
  }
  const leadingZero = new Date(1111111109_000)
  t.equal(judge('81804', leadingZero).accepted, false, 'a leading zero is part of the code')
  t.equal(judge('081804', leadingZero).accepted, true)

  const utf16 = fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 8 })
  fc.assert(
    fc.property(utf16, (units) => {
      const code = String.fromCharCode(...units)
      fc.pre(!/^[0-9]{6}$/.test(code))
      deepStrictEqual(judge(code), { accepted: false, reason: 'mismatch' })
    })
  )
})

t.test('the clock skew has a sign and counts whole time steps within ten minutes', async (t) => {
  const skewOf = (offset: number) =>
    measureClockSkew({ secret: SECRET, code: codeOf(CURRENT + offset), at: NOON })
  for (let offset = -20; offset <= 20; offset++) {
    t.equal(skewOf(offset), offset * 30 || 0, `${offset} steps`)
  }
  for (const offset of [-1000, -22, -21, 21, 22, 1000]) {
    t.equal(skewOf(offset), null, `${offset} steps`)
  }
})

t.test('of two possible clock skews, the smaller one is returned', async (t) => {
  const [earlier, later, code] = [63120234, 63120242, '427914']
  t.same([codeOf(earlier), codeOf(later)], [code, code])
  const skewAt = (timeStep: number) =>
    measureClockSkew({ secret: SECRET, code, at: middleOf(timeStep) })
  t.equal(skewAt(earlier + 1), -30)
  t.equal(skewAt(earlier + 3), -90)
  t.equal(skewAt(later - 3), 90)
  t.equal(skewAt(later + 2), -60)
})

t.test('a setup key is base32 in groups of four, and decodes to the secret', async (t) => {
  t.equal(setupKey(SECRET), 'GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ')
  const secrets = fc.uint8Array({ minLength: 20, maxLength: 20 })
  fc.assert(
    fc.property(secrets, (secret) => {
      const key = setupKey(secret)
      return /^([A-Z2-7]{4} ){7}[A-Z2-7]{4}$/.test(key) && decodeBase32(key).equals(secret)
    })
  )
  t.equal(setupKey(Buffer.from('foob')), 'MZXW 6YQ', 'never padded')
  t.equal(setupKey(Buffer.alloc(0)), '')
})

/** Reads a Key URI as an app does: the issuer in the label ends at the first colon. */
function readByAnApp(uri: string) {
  const { protocol, host, pathname, searchParams } = new URL(uri)
  const label = decodeURIComponent(pathname.slice(1))
  const colon = label.indexOf(':')
  return {
    protocol,
    host,
    labelIssuer: label.slice(0, colon),
    account: label.slice(colon + 1),
    parameters: Object.fromEntries(searchParams)
  }
}

t.test(
  'known answer: the otpauth URI has the form that Google Authenticator documents',
  async (t) => {
    t.equal(
      otpauthUri({ secret: SECRET, issuer: 'Acme Co', accountName: 'ada+work@example.com' }),
      `otpauth://totp/Acme%20Co:ada%2Bwork%40example.com?secret=${SETUP_KEY}&issuer=Acme%20Co`
    )
  }
)

t.test(
  'property: the otpauth URI contains any issuer, account name and secret unchanged',
  async () => {
    const check = (name: string, accountName: string) => {
      const issuer = issuerLabel(name)
      const uri = otpauthUri({ secret: SECRET, issuer, accountName })
      // Apps for iOS show a '+' unchanged, so a space must be %20. The other characters would end the URI or the value.
      match(uri, /^otpauth:\/\/totp\/[^+#\s?]*\?[^+#\s?]*$/)
      deepStrictEqual(readByAnApp(uri), {
        protocol: 'otpauth:',
        host: 'totp',
        labelIssuer: issuer,
        account: accountName,
        parameters: { secret: SETUP_KEY, issuer }
      })
    }
    for (const name of [
      'Acme',
      'A & B = C?',
      'Röß 株式会社 😀',
      'a+b c',
      '50%',
      'x/y#z',
      'a%3Ab',
      '"<>'
    ]) {
      check(name, 'ada@example.com')
      check(name, "o'neil+2fa@xn--bcher-kva.example")
      check(name, ' user with spaces & signs/+?#% ')
    }
    const names = fc
      .string({ unit: 'grapheme', minLength: 1 })
      .filter((name) => issuerLabel(name) !== '')
    fc.assert(
      fc.property(names, names, (name, accountName) => check(name, accountName)),
      {
        numRuns: 50
      }
    )
  }
)

t.test('an issuer in the label contains no colon', async (t) => {
  for (const [name, issuer] of [
    ['Acme: Sales', 'Acme Sales'],
    ['a:b:c', 'a b c'],
    [' : Acme :: ', 'Acme'],
    ['Acme', 'Acme'],
    [':', 'twostep'],
    ['\u202eemcA\u202c', 'emcA'],
    ['شرکت می\u200cخواهم', 'شرکت می\u200cخواهم'],
    ['\u3164 \u2800', 'twostep'],
    ['x'.repeat(100), 'x'.repeat(64)]
  ] as const) {
    t.equal(issuerLabel(name), issuer)
  }
  fc.assert(fc.property(fc.string(), (name) => !issuerLabel(name).includes(':')))
})

// The following tests compare with the independent generator, for any secret and instant.
const secrets = fc.uint8Array({ minLength: 16, maxLength: 64 })
const instants = fc.integer({ min: 0, max: 20_000_000_000_000 }).map((at) => new Date(at))

t.test(
  'property: a code of time step s is accepted at t exactly if |step(t) - s| <= 1',
  async () => {
    fc.assert(
      fc.property(secrets, instants, fc.integer({ min: -4, max: 4 }), (secret, at, offset) => {
        const app = { secret: setupKey(secret) }
        const current = timeStepAt(at)
        const code = codeAt(app, middleOf(Math.max(0, current + offset)))
        // Two time steps may have the same code, so the generator determines which ones are right.
        const right = [current - 1, current, current + 1].filter(
          (timeStep) => timeStep >= 0 && codeAt(app, middleOf(timeStep)) === code
        )
        const [timeStep] = right
        deepStrictEqual(
          matchCode({ secret, code, at, lastTimeStep: null }),
          timeStep === undefined
            ? { accepted: false, reason: 'mismatch' }
            : { accepted: true, timeStep }
        )
      })
    )
  }
)

t.test('property: no time step is accepted twice if the caller stores the last one', async (t) => {
  const guesses = fc.array(
    fc.record({
      // Clocks can also be set back.
      elapsedMs: fc.integer({ min: -60_000, max: 90_000 }),
      offset: fc.integer({ min: -2, max: 2 })
    }),
    { minLength: 10, maxLength: 40 }
  )
  let acceptedInAll = 0
  fc.assert(
    fc.property(secrets, guesses, (secret, sequence) => {
      const app = { secret: setupKey(secret) }
      let at = NOON.getTime()
      let lastTimeStep: number | null = null
      for (const { elapsedMs, offset } of sequence) {
        at += elapsedMs
        const code = codeAt(app, new Date(at + offset * PERIOD_MS))
        const answer = matchCode({ secret, code, at: new Date(at), lastTimeStep })
        if (!answer.accepted) continue
        if (lastTimeStep !== null && answer.timeStep <= lastTimeStep) return false
        if (codeAt(app, middleOf(answer.timeStep)) !== code) return false
        lastTimeStep = answer.timeStep
        acceptedInAll++
      }
      return true
    }),
    { numRuns: 30 }
  )
  t.ok(acceptedInAll > 30, 'the sequences contain right codes')
})
