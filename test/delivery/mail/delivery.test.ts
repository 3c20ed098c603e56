// From the outbox to a real SMTP server: every mail is delivered despite outages, and two workers send no mail twice.
import { pino } from 'pino'
import t, { type Test } from 'tap'
import type { Notice } from '../../../src/core/mail/notices.ts'
import type { Database } from '../../../src/data/engine/database.ts'
import { createMailCounts } from '../../../src/data/trail/mail-counts.ts'
import { createOutbox } from '../../../src/data/trail/outbox.ts'
import { createMailDelivery } from '../../../src/delivery/mail/delivery.ts'
import { createMailLimiting } from '../../../src/delivery/mail/limits.ts'
import { createSmtpTransport } from '../../../src/delivery/mail/smtp-transport.ts'
import { parseMailServer } from '../../../src/settings/mail.ts'
import { ON_EMBEDDED, ON_SERVER } from '../../support/app.ts'
import { createClock } from '../../support/clock.ts'
import { openTestDatabase, openTestReplica } from '../../support/database.ts'
import { openMailbox } from '../../support/mailbox.ts'
import { KINDS, noticeOf, putIntoOutbox } from '../../support/notices.ts'

const ACCOUNT_ID = '019a0000-0000-7000-8000-000000000001'
const FROM = { name: 'Example, "sign-in"', address: 'no-reply@acme.test' }
const BATCH = 20
/** The limits have tests of their own. */
const FAR = 1_000_000
const LEASE = { seconds: 60, perAccountPerHour: FAR }

const database = await openTestDatabase(t)
const { prisma } = database
const clock = createClock()
await prisma.account.create({
  data: {
    id: ACCOUNT_ID,
    slug: 'acme',
    name: 'Acme "><b>',
    audience: 'urn:acme',
    createdAt: clock.now()
  }
})
t.afterEach(() => prisma.outboxMail.deleteMany())

/** Starts a worker on a database. Returns it with its log. */
function startWorker(t: Test, url: string, { prisma }: Database = database) {
  const logged: string[] = []
  const log = pino({ level: 'trace' }, { write: (line: string) => logged.push(line) })
  const server = parseMailServer(url)
  if (!server) throw new Error(`no mail server: ${url}`)
  const transport = createSmtpTransport(server)
  t.teardown(() => transport.close())
  const delivery = createMailDelivery({
    outbox: createOutbox(prisma),
    limiting: createMailLimiting({
      counts: createMailCounts(prisma),
      key: new Uint8Array(32),
      limits: { perRecipientPerHour: FAR, perAccountPerHour: FAR },
      now: clock.now
    }),
    perAccountPerHour: FAR,
    transport,
    from: FROM,
    support: null,
    log,
    now: clock.now,
    messageIdDomain: 'auth.twostep.test'
  })
  return { ...delivery, logged }
}

function notices(
  count: number,
  recipient = (index: number) => `user${index}@example.com`
): Notice[] {
  return Array.from({ length: count }, (_, index) => {
    const kind = KINDS[index % KINDS.length] ?? 'password_changed'
    const occurredAt = new Date(clock.now().getTime() + index)
    return noticeOf(kind, { accountId: ACCOUNT_ID, occurredAt, recipient: recipient(index) })
  })
}

/** Puts mails that are due now into the outbox. */
async function put(count: number, recipient?: (index: number) => string): Promise<void> {
  await putIntoOutbox(database, notices(count, recipient))
  clock.advance({ seconds: 1 })
}

const waiting = () => prisma.outboxMail.findMany({ orderBy: { occurredAt: 'asc' } })
const secondsFromNow = (at: Date) => (at.getTime() - clock.now().getTime()) / 1000

t.test('a mail has the required headers, parts and line lengths', async (t) => {
  const mailbox = await openMailbox(t)
  const worker = startWorker(t, mailbox.url)
  const occurredAt = clock.now()
  await put(1, () => 'ada@example.com')
  const [row] = await waiting()
  t.equal(await worker.deliverDue(), 1)
  t.same(await waiting(), [])
  const mail = await mailbox.mailTo('ada@example.com', /^Two-step sign-in is on$/)
  t.equal(mail.messageId, `<${row?.id}@auth.twostep.test>`)
  t.same(mail.date, new Date(Math.floor(occurredAt.getTime() / 1000) * 1000))
  t.equal(mail.headers['auto-submitted'], 'auto-generated')
  t.equal(mail.headers['x-auto-response-suppress'], 'All')
  t.ok(mail.headerLines.includes('To: ada@example.com'))
  t.match(mail.source, /^From: "Acme \\"><b> via Example, \\"sign-in\\"" <no-reply@acme\.test>\r$/m)
  t.match(mail.text, 'Account: "Acme \'><b>"')
  t.match(mail.html, '&quot;Acme &#39;&gt;&lt;b&gt;&quot;')
  t.match(mail.source, /^MIME-Version: 1\.0\r$/m)
  t.match(mail.source, /^Content-Type: text\/plain; charset=utf-8\r$/m)
  t.notMatch(mail.source, /[^\r]\n|.{999}/, 'line ends and lengths follow RFC 5322')
  t.notMatch(mail.source, /nodemailer|X-Mailer/i)
  t.notMatch(worker.logged.join(''), 'ada@example.com', 'the log names mails by id and kind')
  t.match(worker.logged.join(''), `"mailId":"${row?.id}","kind":"two_factor_enabled"`)
})

t.test(
  'a recipient that is not one plain address gets no mail, nor does any address in it',
  async (t) => {
    const mailbox = await openMailbox(t)
    const worker = startWorker(t, mailbox.url)
    const hostile = [
      'ada@example.com\r\nBcc: eve@evil.test',
      'ada@example.com, eve@evil.test',
      'ada@example.com> <eve@evil.test',
      'Eve <eve@evil.test>, ada@example.com',
      '"eve@evil.test, "@example.com',
      'group: eve@evil.test;'
    ]
    await put(hostile.length, (index) => hostile[index] ?? '')
    await put(1)
    t.equal(await worker.deliverDue(), 1)
    t.same(
      mailbox.all.map(({ to }) => to),
      ['user0@example.com']
    )
    for (const { lastError } of await waiting()) t.match(lastError, /not one plain address/)
  }
)

t.test('a mail server outage loses no mail, and the retries wait longer each time', async (t) => {
  const mailbox = await openMailbox(t)
  const worker = startWorker(t, mailbox.url)
  await mailbox.stop()
  await put(BATCH + 5)
  t.equal(await worker.deliverDue(), 0)
  t.equal(await worker.deliverDue(), 0)
  for (const { tries, dueAt, failedAt, lastError } of await waiting()) {
    t.match({ tries, failedAt, wait: secondsFromNow(dueAt) }, { tries: 1, failedAt: null, wait: 5 })
    t.match(lastError, /^ESOCKET .*ECONNREFUSED/)
  }
  clock.advance({ seconds: 4 })
  await worker.deliverDue()
  t.ok(
    (await waiting()).every(({ tries }) => tries === 1),
    'no mail is tried before it is due'
  )
  clock.advance({ seconds: 1 })
  await worker.deliverDue()
  await worker.deliverDue()
  for (const { tries, dueAt } of await waiting()) t.same([tries, secondsFromNow(dueAt)], [2, 10])
  const complaints = worker.logged.filter((line) => line.includes('mail delivery failing'))
  t.equal(complaints.length, 1, 'the log has one line about it')

  await mailbox.start()
  clock.advance({ seconds: 10 })
  t.equal(await worker.deliverDue(), BATCH)
  t.equal(await worker.deliverDue(), 5)
  t.equal(await worker.deliverDue(), 0)
  t.same(await waiting(), [])
  t.same(
    mailbox.all.map(({ to }) => to).sort(),
    notices(BATCH + 5)
      .map(({ recipient }) => recipient)
      .sort()
  )
  t.equal(worker.logged.filter((line) => line.includes('mail delivery recovered')).length, 1)
})

t.test('550: the mail fails immediately, and the others are sent', async (t) => {
  const mailbox = await openMailbox(t)
  const worker = startWorker(t, mailbox.url)
  mailbox.answer('user1@example.com', {
    code: 550,
    words: 'user1@example.com is\u0000 unknown here'
  })
  await put(3)
  t.equal(await worker.deliverDue(), 2)
  const [refused, ...others] = await waiting()
  t.same(others, [])
  t.match(refused, { recipient: 'user1@example.com', tries: 1, failedAt: clock.now() })
  t.match(refused?.lastError, /^EENVELOPE RCPT TO 550 /)
  clock.advance({ minutes: 60 })
  t.equal(await worker.deliverDue(), 0)
  t.equal((await waiting())[0]?.tries, 1, 'the mail is not tried again')
  const logged = worker.logged.filter((line) => line.includes('mail delivery failed'))
  t.equal(logged.length, 1)
  t.match(logged[0], `"mailId":"${refused?.id}"`)
  t.notMatch(worker.logged.join(''), /user1@example|unknown here/)
})

t.test('an address in another script is sent to a server with SMTPUTF8', async (t) => {
  const mailbox = await openMailbox(t)
  const worker = startWorker(t, mailbox.url)
  await put(2, (index) => ['jörg@example.com', '用户@xn--r8jz45g.jp'][index] ?? '')
  t.equal(await worker.deliverDue(), 2)
  t.same(mailbox.all.map(({ to }) => to).sort(), ['jörg@example.com', '用户@例え.jp'])
  for (const { source } of mailbox.all)
    t.match(source, /^To: (jörg@example\.com|用户@例え\.jp)\r$/m)
})

t.test('an address in another script fails immediately without SMTPUTF8', async (t) => {
  const mailbox = await openMailbox(t, { hasSmtpUtf8: false })
  const worker = startWorker(t, mailbox.url)
  await put(3, (index) => (index === 1 ? 'jörg@example.com' : `user${index}@example.com`))
  t.equal(await worker.deliverDue(), 2, 'the others are sent')
  t.same(mailbox.all.map(({ to }) => to).sort(), ['user0@example.com', 'user2@example.com'])
  const [failed, ...others] = await prisma.outboxMail.findMany()
  t.same(others, [])
  t.match(failed, { recipient: 'jörg@example.com', tries: 1, failedAt: Date })
  t.match(failed?.lastError, /RCPT TO 550 5\.6\.7 .*SMTPUTF8/)
})

t.test('4xx, and 5xx about the sender: the mail is tried again', async (t) => {
  const mailbox = await openMailbox(t)
  const worker = startWorker(t, mailbox.url)
  mailbox.answer('user0@example.com', { code: 451, words: 'greylisted' })
  mailbox.answer('user1@example.com', { code: 557, words: 'relay access denied' })
  await put(3)
  t.equal(await worker.deliverDue(), 1)
  t.equal((await waiting()).length, 2)
  mailbox.answer('user0@example.com', null)
  mailbox.answer('user1@example.com', null)
  mailbox.answer(FROM.address, { code: 550, words: 'no such sender' })
  clock.advance({ seconds: 5 })
  t.equal(await worker.deliverDue(), 0)
  mailbox.answer(FROM.address, null)
  clock.advance({ seconds: 10 })
  t.equal(await worker.deliverDue(), 2)
  t.same(await waiting(), [])
})

t.test(
  'a wrong login: the mail is tried again, and the login is neither stored nor logged',
  async (t) => {
    const login = { user: 'acme', password: 'hun:ter/2@' }
    const mailbox = await openMailbox(t, { login })
    const wrong = startWorker(t, mailbox.url.replace('%2F2', '%2F3'))
    await put(1)
    t.equal(await wrong.deliverDue(), 0)
    const [mail] = await waiting()
    t.match(mail, { failedAt: null, tries: 1, lastError: /^EAUTH AUTH / })
    const kept = JSON.stringify(mail) + wrong.logged.join('')
    t.notMatch(kept, /hun|aHVu|wrong login/)
    clock.advance({ seconds: 5 })
    t.equal(await startWorker(t, mailbox.url).deliverDue(), 1)
  }
)

t.test(
  'an undeliverable mail fails after five days, and is deleted after another month',
  async (t) => {
    const outbox = createOutbox(prisma)
    const mailbox = await openMailbox(t)
    await mailbox.stop()
    const worker = startWorker(t, mailbox.url)
    await put(2)
    clock.advance({ minutes: 5 * 24 * 60 - 1 })
    await worker.deliverDue()
    t.ok((await waiting()).every(({ failedAt }) => failedAt === null))
    clock.advance({ minutes: 1 })
    await worker.deliverDue()
    for (const { failedAt, lastError } of await waiting()) {
      t.same(failedAt, clock.now())
      t.match(lastError, /ECONNREFUSED/)
    }
    clock.advance({ minutes: 30 * 24 * 60 })
    t.equal(await outbox.forgetFailed(clock.now()), 0)
    clock.advance({ seconds: 1 })
    t.equal(await outbox.forgetFailed(clock.now()), 2)
  }
)

t.test('without a mail server a mail that has waited too long fails', async (t) => {
  const outbox = createOutbox(prisma)
  await put(1)
  const tooOld = clock.now()
  await put(2)
  await outbox.leaseDue({ limit: 1, ...LEASE, now: clock.now() })
  t.equal(await outbox.giveUpUnsent(tooOld, clock.now()), 0, 'not a mail that a worker is sending')
  clock.advance({ seconds: 60 })
  t.equal(await outbox.giveUpUnsent(tooOld, clock.now()), 1)
  const given = (await waiting()).map(({ failedAt }) => failedAt !== null)
  t.same(given, [true, false, false])
})

t.test('a leased mail belongs to one worker, and a late worker changes nothing', async (t) => {
  const outbox = createOutbox(prisma)
  const lease = () => outbox.leaseDue({ limit: 5, ...LEASE, now: clock.now() })
  await put(3)
  const [late, ...others] = await lease()
  if (!late) throw new Error('nothing was leased')
  t.match(late, { kind: 'two_factor_enabled', tries: 1, accountName: 'Acme "><b>' })
  t.same(late.details, { authenticator: 'Phone' })
  t.type(late.occurredAt, Date)
  t.same(await lease(), [])
  clock.advance({ seconds: 59 })
  t.same(await lease(), [])
  clock.advance({ seconds: 1 })
  const again = (await lease()).find(({ id }) => id === late.id)
  t.match(again, { id: late.id, tries: 2 })
  t.equal(await outbox.postpone(late, clock.now(), 'late'), false)
  t.equal(await outbox.giveUp(late, clock.now(), 'late'), false)
  t.equal(await outbox.handBack(late, clock.now()), false)
  t.match((await waiting())[0], { failedAt: null, lastError: null, tries: 2 })
  await outbox.removeDelivered(late)
  t.equal(
    (await waiting()).length,
    others.length,
    'a late worker still removes the mail that it has delivered'
  )
})

t.test('a long reply of a mail server is cut before it is stored', async (t) => {
  const outbox = createOutbox(prisma)
  await put(1)
  const [mail] = await outbox.leaseDue({ limit: 1, ...LEASE, now: clock.now() })
  if (!mail) throw new Error('nothing was leased')
  t.ok(await outbox.postpone(mail, clock.now(), `\u0000\r\n${'💥'.repeat(10_000)}`))
  t.equal((await waiting())[0]?.lastError?.length, 300)
})

t.test('a mail without a text does not stop the others', async (t) => {
  const mailbox = await openMailbox(t)
  const worker = startWorker(t, mailbox.url)
  await put(2)
  await prisma.outboxMail.updateMany({
    where: { recipient: 'user0@example.com' },
    data: { kind: 'of_a_later_version' }
  })
  t.equal(await worker.deliverDue(), 1)
  t.match(await waiting(), [{ failedAt: null, tries: 1, lastError: /no text for mails/ }])
})

t.test('a stopped worker returns the mails that it has not started', async (t) => {
  const mailbox = await openMailbox(t)
  const worker = startWorker(t, mailbox.url)
  mailbox.slowBy(100)
  await put(BATCH)
  const sent = worker.deliverDue()
  await mailbox.read(1)
  worker.stop()
  const count = await sent
  t.ok(count >= 1 && count <= 5, 'the mails that were being sent are finished')
  const left = await waiting()
  t.equal(left.length, BATCH - count)
  t.ok(
    left.every(({ dueAt }) => dueAt <= clock.now()),
    'any worker can take the others immediately'
  )
})

const MAILS = 200

async function deliverTogether(t: Test, databases: [Database, Database]): Promise<number[]> {
  const mailbox = await openMailbox(t)
  const workers = databases.map((database) => startWorker(t, mailbox.url, database))
  await put(MAILS)
  const counts = await Promise.all(
    workers.map(async ({ deliverDue }) => {
      let sent = 0
      for (let more = 1; more > 0; sent += more) more = await deliverDue()
      return sent
    })
  )
  t.same(await waiting(), [])
  t.equal(mailbox.all.length, MAILS)
  t.equal(new Set(mailbox.all.map(({ messageId }) => messageId)).size, MAILS)
  t.equal(new Set(mailbox.all.map(({ to }) => to)).size, MAILS)
  return counts
}

t.test('two workers send each of 200 mails once', ON_EMBEDDED, async (t) => {
  const counts = await deliverTogether(t, [database, database])
  t.equal(
    counts.reduce((sum, count) => sum + count, 0),
    MAILS
  )
})

t.test('two replicas send each of 200 mails once', ON_SERVER, async (t) => {
  const second = await openTestReplica(t, database.url ?? '')
  await second.ping()
  const counts = await deliverTogether(t, [database, second])
  t.ok(
    counts.every((count) => count > 0),
    'both have sent some'
  )
})
