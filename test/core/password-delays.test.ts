import t from 'tap'
import {
  PASSWORD_DELAY_MAX_SECONDS,
  PASSWORD_FAILURES_WINDOW_SECONDS,
  passwordDelaySeconds
} from '../../src/core/password-delays.ts'

t.test(
  'three slips cost nothing, then every further one doubles the wait up to 15 minutes',
  async (t) => {
    const delays = Array.from({ length: 16 }, (_, failures) => passwordDelaySeconds(failures))
    t.strictSame(delays, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900])
    t.equal(PASSWORD_DELAY_MAX_SECONDS, 900)
    t.ok(PASSWORD_DELAY_MAX_SECONDS < PASSWORD_FAILURES_WINDOW_SECONDS, 'waiting it out counts on')
  }
)

t.test('the wait never falls, overflows or stops being a number', async (t) => {
  let last = 0
  for (const failures of [...Array(2000).keys(), 1e6, Number.MAX_SAFE_INTEGER]) {
    const delay = passwordDelaySeconds(failures)
    if (delay < last || delay > 900 || !Number.isInteger(delay)) t.fail(`${failures}: ${delay}`)
    last = delay
  }
  t.equal(last, 900)
})
