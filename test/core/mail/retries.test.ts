import { ok } from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import {
  isAboutTheMail,
  isRefusedForGood,
  MAIL_GIVEN_UP_AFTER_SECONDS,
  nextTryAt,
  tooOldToTell
} from '../../../src/core/mail/retries.ts'

const NOON = new Date('2030-01-02T12:00:00Z')
const HOUR_SECONDS = 3600
const after = (seconds: number) => new Date(NOON.getTime() + seconds * 1000)

t.test('a mail waits 5 seconds, then twice as long each time, up to an hour', async (t) => {
  const waits = Array.from({ length: 14 }, (_, index) => {
    const next = nextTryAt({ occurredAt: NOON, tries: index + 1 }, NOON)
    return next && (next.getTime() - NOON.getTime()) / 1000
  })
  t.same(waits, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600, 3600])
})

t.test('a mail is discarded five days after the event that it reports', async (t) => {
  t.equal(MAIL_GIVEN_UP_AFTER_SECONDS, 5 * 24 * HOUR_SECONDS)
  const failedTry = { occurredAt: NOON, tries: 130 }
  t.ok(nextTryAt(failedTry, after(MAIL_GIVEN_UP_AFTER_SECONDS - 1)))
  t.equal(nextTryAt(failedTry, after(MAIL_GIVEN_UP_AFTER_SECONDS)), null)
  t.same(tooOldToTell(after(MAIL_GIVEN_UP_AFTER_SECONDS)), NOON)
})

t.test('property: every mail is tried for five days, and then discarded', async () => {
  const instants = fc.date({ min: new Date(0), max: new Date('2100-01-01'), noInvalidDate: true })
  const slowness = fc.integer({ min: 0, max: 60 })
  fc.assert(
    fc.property(instants, slowness, (occurredAt, slownessSeconds) => {
      let at = occurredAt
      let waitedMs = 0
      for (let tries = 1; ; tries += 1) {
        ok(tries < 1000, 'the tries end')
        const failedAt = new Date(at.getTime() + slownessSeconds * 1000)
        const next = nextTryAt({ occurredAt, tries }, failedAt)
        const ageSeconds = (failedAt.getTime() - occurredAt.getTime()) / 1000
        if (next === null) {
          ok(ageSeconds >= MAIL_GIVEN_UP_AFTER_SECONDS)
          // Only the last wait and the last try may exceed the limit.
          ok(ageSeconds <= MAIL_GIVEN_UP_AFTER_SECONDS + HOUR_SECONDS + slownessSeconds)
          return
        }
        const waitMs = next.getTime() - failedAt.getTime()
        ok(waitMs >= 5000 && waitMs <= HOUR_SECONDS * 1000)
        ok(waitMs >= waitedMs, 'no wait is shorter than the previous one')
        waitedMs = waitMs
        at = next
      }
    }),
    { numRuns: 50 }
  )
})

t.test('only a rejection of this recipient or this content is final', async (t) => {
  const table: [command: string, response: string, isFinal: boolean][] = [
    ['RCPT TO', '550 5.1.1 No such user', true],
    ['RCPT TO', '550 No such user', true],
    ['RCPT TO', '550-5.1.1 No such user\n550 5.1.1 Really', true],
    ['RCPT TO', '551 5.1.6 Moved', true],
    ['RCPT TO', '552 5.2.2 Mailbox full', true],
    ['RCPT TO', '553 5.1.3 Not an address', true],
    ['DATA', '554 5.6.0 Not this content', true],
    ['DATA', '554 Transaction failed', true],
    // Greylisting, full disks.
    ['RCPT TO', '450 4.2.1 Try again later', false],
    ['RCPT TO', '421 4.3.2 Going down', false],
    ['DATA', '452 4.3.1 Disk full', false],
    // The server or our own configuration is wrong.
    ['RCPT TO', '554 5.7.1 Relay access denied', false],
    ['RCPT TO', '530 5.7.0 Authentication required', false],
    ['RCPT TO', '550 5.4.1 No route to that domain', false],
    ['RCPT TO', '503 5.5.1 Bad sequence of commands', false],
    ['DATA', '554 5.3.0 Queue broken', false],
    ['MAIL FROM', '553 5.1.8 We know no such sender', false],
    ['MAIL FROM', '550 5.1.1 No', false],
    ['AUTH PLAIN', '535 5.7.8 Wrong password', false],
    ['EHLO', '550 5.1.1 No', false],
    ['CONN', '554 No SMTP here', false]
  ]
  for (const [command, response, isFinal] of table) {
    const refusal = { command, response, responseCode: Number(response.slice(0, 3)) }
    t.equal(isRefusedForGood(refusal), isFinal, `${command}: ${response}`)
    t.equal(isAboutTheMail(refusal), command === 'RCPT TO' || command === 'DATA')
  }
})
