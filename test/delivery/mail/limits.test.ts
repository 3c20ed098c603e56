// Limits on mails, and the accounts in turn, with a real SMTP server.
import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { type MailLimits, priorityOf } from '../../../src/core/mail/limits.ts'
import type { NoticeKind } from '../../../src/core/mail/notices.ts'
import type { Database } from '../../../src/data/engine/database.ts'
import { createMailCounts } from '../../../src/data/trail/mail-counts.ts'
import { createOutbox } from '../../../src/data/trail/outbox.ts'
import { createMailDelivery } from '../../../src/delivery/mail/delivery.ts'
import { createMailLimiting } from '../../../src/delivery/mail/limits.ts'
import { createSmtpTransport } from '../../../src/delivery/mail/smtp-transport.ts'
import { parseMailServer } from '../../../src/settings/mail.ts'
import { ON_SERVER } from '../../support/app.ts'
import { createClock } from '../../support/clock.ts'
import { openTestDatabase, openTestReplica } from '../../support/database.ts'
import { openMailbox } from '../../support/mailbox.ts'
import { noticeOf } from '../../support/notices.ts'

const database = await openTestDatabase(t)
const { prisma } = database
const clock = createClock()
const LIMITS = { perRecipientPerHour: 3, perAccountPerHour: 1_000_000 }
const [NOISY, QUIET] = [randomUUID(), randomUUID()]

t.afterEach(async () => {
  await prisma.outboxMail.deleteMany()
  await prisma.mailCount.deleteMany()
  clock.advance({ minutes: 120 })
})

function startWorker(t: Test, url: string, limits: MailLimits = LIMITS, { prisma } = database) {
  const server = parseMailServer(url)
  if (!server) throw new Error(`no mail server: ${url}`)
  const transport = createSmtpTransport(server)
  t.teardown(() => transport.close())
  const logged: string[] = []
  const counts = createMailCounts(prisma)
  const delivery = createMailDelivery({
    outbox: createOutbox(prisma),
    limiting: createMailLimiting({ counts, key: new Uint8Array(32), limits, now: clock.now }),
    perAccountPerHour: limits.perAccountPerHour,
    transport,
    from: { name: 'Acme', address: 'no-reply@acme.test' },
    support: null,
    log: pino({ level: 'trace' }, { write: (line: string) => logged.push(line) }),
    now: clock.now,
    messageIdDomain: 'auth.twostep.test'
  })
  return { ...delivery, logged }
}

type Worker = ReturnType<typeof startWorker>

/** Delivers until nothing is due. */
async function deliverAll({ deliverDue }: Worker): Promise<void> {
  for (let more = 1; more > 0; ) more = await deliverDue()
}

interface Flood {
  count: number
  kind?: NoticeKind
  recipient?: (index: number) => string
}

/** Puts due mails of an account into the outbox, each a millisecond later than the one before. */
async function put(
  accountId: string,
  { count, kind = 'email_changed', recipient = () => 'ada@example.com' }: Flood
): Promise<void> {
  const now = clock.now().getTime()
  const data = Array.from({ length: count }, (_, index) => {
    const occurredAt = new Date(now + index)
    const { details } = noticeOf(kind, { accountId, occurredAt })
    const to = { recipient: recipient(index), priority: priorityOf(kind) }
    return { accountId, kind, details: { ...details }, occurredAt, dueAt: occurredAt, ...to }
  })
  await prisma.outboxMail.createMany({ data })
  clock.advance({ seconds: 2 })
}

const waiting = () => prisma.outboxMail.findMany({ orderBy: { occurredAt: 'asc' } })

t.test(
  'a flood to one mailbox is one mail more than the limit, and names the number',
  async (t) => {
    const mailbox = await openMailbox(t)
    const worker = startWorker(t, mailbox.url)
    await put(NOISY, { count: 1300 })
    await deliverAll(worker)
    t.equal(mailbox.all.length, 3)
    const [held, ...others] = await waiting()
    t.same(others, [], 'the others are folded into the newest')
    t.match(held, { held: true, tries: 0, repeats: 1296 })
    t.match(worker.logged.join(''), 'mails held back')
    t.notMatch(worker.logged.join(''), 'ada@example.com')
    await put(NOISY, { count: 10 })
    await deliverAll(worker)
    t.match(await waiting(), [{ held: true, repeats: 1306 }])
    t.equal(mailbox.all.length, 3)
    clock.advance({ minutes: 60 })
    await deliverAll(worker)
    t.same(await waiting(), [])
    t.equal(mailbox.all.length, 4)
    t.match(mailbox.all[3]?.text, 'The same happened 1306 times before, since')
    t.notMatch(mailbox.all[0]?.text, 'The same happened')
  }
)

t.test('another kind of mail to the same mailbox is sent immediately', async (t) => {
  const mailbox = await openMailbox(t)
  const worker = startWorker(t, mailbox.url)
  await put(NOISY, { count: 100 })
  await put(NOISY, { count: 1, kind: 'password_changed' })
  await deliverAll(worker)
  t.equal(mailbox.all.length, 4)
  await mailbox.mailTo('ada@example.com', /password/)
})

t.test('accounts share the limit of a mailbox, but each sends its first mail', async (t) => {
  const mailbox = await openMailbox(t)
  const worker = startWorker(t, mailbox.url)
  await put(NOISY, { count: 50 })
  await deliverAll(worker)
  await put(QUIET, { count: 2 })
  await deliverAll(worker)
  t.equal(mailbox.all.length, 4)
  t.match(await waiting(), [
    { accountId: NOISY, repeats: 46 },
    { accountId: QUIET, repeats: 0, held: true }
  ])
})

t.test('many mails of one account do not delay a mail of another account', async (t) => {
  const mailbox = await openMailbox(t)
  const worker = startWorker(t, mailbox.url)
  await put(NOISY, { count: 10_000, recipient: (index) => `user${index}@example.com` })
  await put(QUIET, { count: 1, kind: 'two_factor_reset', recipient: () => 'bob@example.com' })
  await worker.deliverDue()
  t.equal(mailbox.all.length, 20)
  t.ok(
    mailbox.all.some(({ to }) => to === 'bob@example.com'),
    'it is in the first batch'
  )
})

t.test('accounts take turns in each batch', async (t) => {
  const mailbox = await openMailbox(t)
  const worker = startWorker(t, mailbox.url)
  const accounts = Array.from({ length: 30 }, () => randomUUID()).sort()
  for (const accountId of accounts) {
    await put(accountId, { count: 3, recipient: (index) => `${accountId}+${index}@example.com` })
  }
  const served = async () => {
    const before = mailbox.all.length
    await worker.deliverDue()
    return new Set(mailbox.all.slice(before).map(({ to }) => to.split('+')[0]))
  }
  t.same([...(await served())].sort(), accounts.slice(0, 20))
  const second = await served()
  t.same([...second].sort(), [...accounts.slice(20), ...accounts.slice(0, 10)].sort())
  await deliverAll(worker)
  t.equal(mailbox.all.length, 90)
})

t.test('announcements wait until no security notice is due', async (t) => {
  const mailbox = await openMailbox(t)
  const worker = startWorker(t, mailbox.url)
  const recipient = (index: number) => `user${index}@example.com`
  await put(QUIET, { count: 30, kind: 'two_factor_required', recipient })
  await put(NOISY, { count: 30, recipient })
  for (let batch = 0; batch < 2; batch++) await worker.deliverDue()
  const required = mailbox.all.filter(({ subject }) => /requires/.test(subject))
  t.same([mailbox.all.length, required.length], [40, 10])
  await deliverAll(worker)
  t.equal(mailbox.all.length, 60)
})

t.test('an account that has reached its limit waits, and other accounts do not', async (t) => {
  const mailbox = await openMailbox(t)
  const worker = startWorker(t, mailbox.url, { perRecipientPerHour: 3, perAccountPerHour: 40 })
  const recipient = (index: number) => `user${index}@example.com`
  await put(NOISY, { count: 100, recipient })
  await put(NOISY, { count: 5, kind: 'two_factor_required', recipient })
  await put(QUIET, { count: 1, recipient: () => 'bob@example.com' })
  await deliverAll(worker)
  const sent = mailbox.all.length
  t.ok(sent >= 46 && sent <= 46 + 20, `${sent} mails: a batch may exceed the limit`)
  t.equal(mailbox.all.filter(({ subject }) => /requires/.test(subject)).length, 5)
  await mailbox.mailTo('bob@example.com')
  t.equal((await waiting()).length, 106 - sent, 'no mail is lost')
  clock.advance({ minutes: 60 })
  await deliverAll(worker)
  t.ok(mailbox.all.length > sent)
})

t.test('a notice to the admins is not behind the mails that its cause has made', async (t) => {
  const mailbox = await openMailbox(t)
  const worker = startWorker(t, mailbox.url, { perRecipientPerHour: 3, perAccountPerHour: 40 })
  const recipient = (index: number) => `user${index}@example.com`
  await put(NOISY, { count: 500, recipient })
  await put(NOISY, { count: 1, kind: 'api_key_created', recipient: () => 'admin@example.com' })
  await worker.deliverDue()
  t.match(mailbox.all[0], { to: 'admin@example.com' })
  await deliverAll(worker)
  await put(NOISY, { count: 1, kind: 'admin_added', recipient: () => 'admin@example.com' })
  await worker.deliverDue()
  t.match(mailbox.all.at(-1), { to: 'admin@example.com' }, 'also after the limit of the others')
})

t.test('a mail that is tried again counts once', async (t) => {
  const mailbox = await openMailbox(t)
  const worker = startWorker(t, mailbox.url)
  await mailbox.stop()
  await put(NOISY, { count: 2 })
  for (let tries = 0; tries < 5; tries++) {
    await worker.deliverDue()
    clock.advance({ minutes: 2 })
  }
  t.match(await waiting(), [
    { held: false, tries: 5 },
    { held: false, tries: 5 }
  ])
  await mailbox.start()
  await worker.deliverDue()
  t.equal(mailbox.all.length, 2)
})

t.test('counts contain no address, and are deleted after an hour', async (t) => {
  const mailbox = await openMailbox(t)
  await put(NOISY, { count: 1 })
  await startWorker(t, mailbox.url).deliverDue()
  const rows = await prisma.mailCount.findMany()
  t.equal(rows.length, 3)
  for (const { key } of rows) t.notMatch(Buffer.from(key).toString(), /ada/)
  const counts = createMailCounts(prisma)
  clock.advance({ minutes: 59 })
  t.equal(await counts.forgetExpired(clock.now()), 0)
  clock.advance({ minutes: 1 })
  t.equal(await counts.forgetExpired(clock.now()), 3)
})

t.test('two replicas together send no more than the limit allows', ON_SERVER, async (t) => {
  const mailbox = await openMailbox(t)
  const second: Database = await openTestReplica(t, database.url ?? '')
  const workers = [startWorker(t, mailbox.url), startWorker(t, mailbox.url, LIMITS, second)]
  await put(NOISY, { count: 500 })
  await Promise.all(workers.map(deliverAll))
  t.equal(mailbox.all.length, 3)
  const rows = await waiting()
  const folded = rows.reduce((sum, { repeats }) => sum + repeats + 1, 0)
  t.equal(folded, 497, 'every other mail is counted')
})
