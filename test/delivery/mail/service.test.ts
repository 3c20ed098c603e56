// The mails of a running service: sent to its mail server, written to files, or kept in the outbox.
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { ON_SERVER, startApp } from '../../support/app.ts'
import { createClock } from '../../support/clock.ts'
import { openTestDatabase } from '../../support/database.ts'
import { openMailbox, parse } from '../../support/mailbox.ts'
import { KINDS, noticeOf, putIntoOutbox } from '../../support/notices.ts'

const database = await openTestDatabase(t)
const clock = createClock()
const waiting = () => database.prisma.outboxMail.count()

async function put(accountId: string, recipients: string[]): Promise<void> {
  const occurredAt = clock.now()
  const notices = recipients.map((recipient) =>
    noticeOf('password_changed', { accountId, occurredAt, recipient })
  )
  await putIntoOutbox(database, notices)
}

t.test(
  'a mail in the outbox is sent within about a second, from the host of the issuer',
  ON_SERVER,
  async (t) => {
    const mailbox = await openMailbox(t)
    const service = await startApp(t, { database, clock, env: { SMTP_URL: mailbox.url } })
    const account = await service.createAccount({ slug: 'sends', name: 'Größe & Co.' })
    await put(account.id, ['ada@example.com'])
    const mail = await mailbox.mailTo('ada@example.com', /password was changed/)
    t.match(mail.text, 'Account: "Größe & Co."')
    const sender =
      'From: =?UTF-8?Q?Gr=C3=B6=C3=9Fe_=26_Co=2E_via_twostep?= <no-reply@auth.twostep.test>'
    t.equal(
      mail.headerLines.find((line) => line.startsWith('From:'))?.replace(/\r\n /g, ' '),
      sender
    )
    t.match(mail.messageId, /^<[0-9a-f-]{36}@auth\.twostep\.test>$/)
    while ((await waiting()) > 0) await sleep(10)
  }
)

t.test(
  'a service that closes finishes the mails that it is sending, and leaves the others',
  ON_SERVER,
  async (t) => {
    const mailbox = await openMailbox(t)
    mailbox.slowBy(200)
    const env = { SMTP_URL: mailbox.url, MAIL_FROM: '"Example" <hello@acme.test>' }
    const service = await startApp(t, { database, clock, env })
    const account = await service.createAccount({ slug: 'closes' })
    await put(
      account.id,
      Array.from({ length: 12 }, (_, index) => `user${index}@example.com`)
    )
    await mailbox.read(1)
    await service.app.close()
    const sent = mailbox.all.length
    t.ok(sent >= 1 && sent < 12, `${sent} were being sent`)
    t.equal(await waiting(), 12 - sent, 'a sent mail is no longer in the outbox')
    const dueLater = await database.prisma.outboxMail.count({
      where: { dueAt: { gt: clock.now() } }
    })
    t.equal(dueLater, 0, 'the others are due immediately')
    t.match(
      mailbox.all[0]?.headerLines.join('\n'),
      /^From: Acme \d+ via Example <hello@acme.test>$/m
    )
    await database.prisma.outboxMail.deleteMany()
  }
)

t.test(
  'without a mail server mails become files that only the owner can read',
  ON_SERVER,
  async (t) => {
    const service = await startApp(t, { database, clock })
    const { folder } = service.config.mail
    if (folder === null) throw new Error('no folder for mails')
    await t.rejects(stat(folder), 'the folder does not exist before the first mail')
    const account = await service.createAccount({ slug: 'files' })
    const notices = KINDS.map((kind, index) => {
      const occurredAt = new Date(clock.now().getTime() - index * 1000)
      return noticeOf(kind, { accountId: account.id, occurredAt })
    })
    await putIntoOutbox(database, notices)
    while ((await waiting()) > 0) await sleep(10)
    t.equal((await stat(folder)).mode & 0o777, 0o700)
    const files = (await readdir(folder)).sort()
    t.same(
      files.map((file) => file.replace(/^[-0-9TZ.]{24}-(\w+)-[-0-9a-f]{36}\.eml$/, '$1')),
      [...KINDS].reverse(),
      'the names sort by time'
    )
    for (const [index, file] of files.entries()) {
      t.equal((await stat(join(folder, file))).mode & 0o777, 0o600)
      const mail = await parse(await readFile(join(folder, file)), 'ada@example.com')
      t.equal(mail.messageId, `<${file.slice(-40, -4)}@auth.twostep.test>`)
      t.ok(mail.headerLines.includes('To: ada@example.com'))
      const at = notices[KINDS.length - 1 - index]?.occurredAt
      t.same(mail.date, at)
      t.match(mail.text, `Account: "${account.name}"`)
      t.match(mail.html, /^<!doctype html>/)
    }
  }
)

t.test(
  'production without a mail server warns about it and keeps the mails',
  ON_SERVER,
  async (t) => {
    const env = { NODE_ENV: 'production' }
    const service = await startApp(t, { database, clock, env })
    t.equal(service.config.mail.folder, null)
    const said = service.logged.filter((line) => line.includes('SMTP_URL not set'))
    t.equal(said.length, 1)
    t.match(said[0], /no mail is sent.*discarded after five days/)
  }
)
