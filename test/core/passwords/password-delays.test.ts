import t from 'tap'
import {
  PASSWORD_DELAY_MAX_SECONDS,
  PASSWORD_FAILURES_WINDOW_SECONDS,
  passwordDelaySeconds
} from '../../../src/core/passwords/password-delays.ts'

t.test(
  'three failures cause no delay, and each further one doubles it, up to 15 minutes',
  async (t) => {
    const delays = Array.from({ length: 16 }, (_, failures) => passwordDelaySeconds(failures))
    t.strictSame(delays, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900])
    t.equal(PASSWORD_DELAY_MAX_SECONDS, 900)
    t.ok(
      PASSWORD_DELAY_MAX_SECONDS < PASSWORD_FAILURES_WINDOW_SECONDS,
      'the count does not start again during the longest delay'
    )
  }
)

t.test('the delay never falls and is always a whole number of at most 15 minutes', async (t) => {
  let last = 0
  for (const failures of [...Array(2000).keys(), 1e6, Number.MAX_SAFE_INTEGER]) {
    const delay = passwordDelaySeconds(failures)
    if (delay < last || delay > 900 || !Number.isInteger(delay)) t.fail(`${failures}: ${delay}`)
    last = delay
  }
  t.equal(last, 900)
})
