import { deepStrictEqual, equal, ok } from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { ACCESS_TOKEN_TTL_SECONDS } from '../../src/core/claims.ts'
import {
  JWKS_MAX_AGE_SECONDS,
  PUBLISHED_BEFORE_SIGNING_SECONDS,
  type ScheduledKey,
  SIGNING_KEYS_KNOWN_WITHIN_SECONDS,
  scheduleOf,
  TRUSTED_AFTER_SIGNING_SECONDS
} from '../../src/core/signing-key-schedule.ts'

const NINE = new Date('2026-01-05T09:00:00.000Z')
const HOUR = 3600
const after = (seconds: number) => new Date(NINE.getTime() + seconds * 1000)
const key = (id: string, signsInSeconds: number): ScheduledKey => ({
  id,
  signsFrom: after(signsInSeconds)
})

/** Keys that start within some hours of nine, sometimes two at the same time, in any order. */
const anyKeys = fc
  .array(fc.integer({ min: -5, max: 5 }), { minLength: 1, maxLength: 6 })
  .map((hours) => hours.map((hour, index) => key(`k${index}`, hour * HOUR)))
const anySecond = fc.integer({ min: -6 * HOUR, max: 8 * HOUR })

const signerAt = (keys: ScheduledKey[], at: Date) => {
  const signing = scheduleOf(keys, at).filter(({ state }) => state === 'signing')
  equal(signing.length, 1)
  return signing[0]?.id
}

t.test('a key signs only when each replica and each cache of the JWKS contains it', async (t) => {
  t.ok(PUBLISHED_BEFORE_SIGNING_SECONDS >= SIGNING_KEYS_KNOWN_WITHIN_SECONDS + JWKS_MAX_AGE_SECONDS)
  t.equal(PUBLISHED_BEFORE_SIGNING_SECONDS, 370)
})

t.test(
  'a key retires after its last token has expired, even one from a clock an hour ahead',
  async (t) => {
    const lastSignedAfter = SIGNING_KEYS_KNOWN_WITHIN_SECONDS
    t.ok(TRUSTED_AFTER_SIGNING_SECONDS >= lastSignedAfter + HOUR + ACCESS_TOKEN_TTL_SECONDS)
    t.equal(TRUSTED_AFTER_SIGNING_SECONDS, 4510)
  }
)

t.test('a key signs from its start on, and the previous key retires', async (t) => {
  const keys = [key('old', -HOUR), key('new', 370)]
  const states = (seconds: number) =>
    Object.fromEntries(scheduleOf(keys, after(seconds)).map(({ id, state }) => [id, state]))
  t.same(states(0), { old: 'signing', new: 'published' })
  t.same(states(369.999), { old: 'signing', new: 'published' })
  t.same(states(370), { old: 'retiring', new: 'signing' })
  t.same(states(370 + 4509.999), { old: 'retiring', new: 'signing' })
  t.same(states(370 + 4510), { old: 'retired', new: 'signing' })
  const [newest, oldest] = scheduleOf(keys, NINE)
  t.match([newest, oldest], [{ id: 'new', retiresAt: null }, { id: 'old' }])
  t.same(oldest?.retiresAt, after(370 + 4510))
  t.same(scheduleOf([], NINE), [])
})

t.test('property: exactly one key signs at any instant', async () => {
  fc.assert(fc.property(anyKeys, anySecond, (keys, second) => void signerAt(keys, after(second))))
})

t.test('property: the order in which a replica reads the rows does not matter', async () => {
  fc.assert(
    fc.property(anyKeys, anySecond, fc.func(fc.integer()), (keys, second, rank) => {
      const shuffled = keys.toSorted((one, other) => rank(one.id) - rank(other.id))
      deepStrictEqual(scheduleOf(shuffled, after(second)), scheduleOf(keys, after(second)))
    })
  )
})

t.test('property: a key that is added for later does not change which key signs now', async () => {
  fc.assert(
    fc.property(anyKeys, anySecond, (keys, second) => {
      fc.pre(keys.some(({ signsFrom }) => signsFrom <= after(second)))
      const added = key('added', second + PUBLISHED_BEFORE_SIGNING_SECONDS)
      equal(signerAt([...keys, added], after(second)), signerAt(keys, after(second)))
    })
  )
})

t.test('property: a key is trusted while a token that it signed is valid', async () => {
  const lag = fc.integer({ min: 0, max: SIGNING_KEYS_KNOWN_WITHIN_SECONDS })
  const skew = fc.integer({ min: -HOUR, max: HOUR })
  const age = fc.integer({ min: 0, max: 3 * HOUR })
  fc.assert(
    fc.property(anyKeys, anySecond, lag, skew, age, (keys, second, lagging, skewed, aged) => {
      // The signing replica lacks the newest keys for `lagging` seconds, and its clock differs by `skewed` seconds.
      const signedAt = second + lagging
      fc.pre(aged < ACCESS_TOKEN_TTL_SECONDS + skewed)
      const signer = signerAt(keys, after(second))
      const now = scheduleOf(keys, after(signedAt + aged))
      const state = now.find(({ id }) => id === signer)?.state
      ok(state === 'signing' || state === 'retiring', `${signer} is ${state}`)
    })
  )
})

t.test('property: a retired key stays retired', async () => {
  const later = fc.integer({ min: 0, max: 10 * HOUR })
  fc.assert(
    fc.property(anyKeys, anySecond, later, (keys, second, seconds) => {
      for (const { id, state } of scheduleOf(keys, after(second))) {
        if (state !== 'retired') continue
        const then = scheduleOf(keys, after(second + seconds)).find((each) => each.id === id)
        equal(then?.state, 'retired')
      }
    })
  )
})
