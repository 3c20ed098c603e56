// SMTP_URL and MAIL_FROM: the mail server and the sender.
import t from 'tap'
import { assertRejected, COMPLETE, configOf } from './refusals.ts'

t.test('a value of the wrong form is rejected, and its error does not show it', async (t) => {
  assertRejected(t, {
    SMTP_URL: [
      'mail.internal',
      'mail.internal:587',
      'http://u:hunter2@mail',
      'smtp:',
      'smtp://',
      'smtp:mail',
      'smtp://u:hunter2@',
      'smtp://hunter2@mail',
      'smtp://:hunter2@mail',
      'smtp://u:%hunter2@mail',
      'smtp://u:hunter2@mail:0',
      'smtp://mail:99999',
      'smtp://mail:587x',
      'smtp://mail/hunter2',
      'smtp://mail?pool=true',
      'smtp://mail#hunter2',
      'smtp://ma il',
      'smtp://größe',
      'SMTP//mail',
      'direct:?name=x',
      'smtp://a,b',
      'smtp://mail\r\nRSET'
    ],
    MAIL_FROM: [
      'hunter2',
      'hunter2@',
      '@acme.test',
      'a b@acme.test',
      'a@acme.test, b@acme.test',
      'a@b@acme.test',
      'Acme a@acme.test',
      'Acme <a@acme.test',
      'Acme <hunter2>',
      'Acme <a@acme.test> x',
      '<>',
      ' ',
      'Acme\r\nBcc: x <a@acme.test>',
      'a@acme.test\n',
      'a@grö ße.test',
      '\u212a@acme.test',
      'a\u200b@acme.test',
      'A<b>c <a@acme.test>'
    ]
  })
})

t.test('SMTP_URL names host, port, kind of TLS and login', async (t) => {
  const serverOf = (SMTP_URL: string) => configOf({ ...COMPLETE, SMTP_URL }).mail.server
  t.equal(serverOf(''), null)
  const plain = { host: 'mail.internal', port: 587, isSecure: false, login: null }
  t.same(serverOf('smtp://mail.internal'), plain)
  t.same(serverOf('smtp://mail.internal:25/'), { ...plain, port: 25 })
  t.same(serverOf('smtps://mail.internal'), { ...plain, port: 465, isSecure: true })
  t.match(serverOf('smtp://[2001:db8::1]:2525'), { host: '2001:db8::1', port: 2525 })
  t.same(serverOf('smtps://ada%40acme.test:p%3Aq%2F%40@mail.internal:4465')?.login, {
    user: 'ada@acme.test',
    password: 'p:q/@'
  })
})

t.test('the sender is MAIL_FROM, or an address at the host of the issuer', async (t) => {
  const mailOf = (env: NodeJS.ProcessEnv) => configOf({ ...COMPLETE, ...env }).mail
  t.same(mailOf({}).from, { name: 'twostep', address: 'no-reply@id.example.com' })
  t.equal(mailOf({}).domain, 'id.example.com')
  t.match(mailOf({ ISSUER: 'https://id_1:8443/a' }).from, { address: 'no-reply@id_1' })
  for (const ISSUER of ['https://10.0.0.1', 'https://[2001:db8::1]:8443']) {
    t.match(mailOf({ ISSUER }), { from: { address: 'no-reply@localhost' }, domain: 'localhost' })
  }
  for (const [MAIL_FROM, name, address] of [
    ['no-reply@acme.test', '', 'no-reply@acme.test'],
    ['<no-reply@acme.test>', '', 'no-reply@acme.test'],
    ['Größe & Co. <a+b@acme.test>', 'Größe & Co.', 'a+b@acme.test'],
    ['"Acme, Inc." <a@localhost>', 'Acme, Inc.', 'a@localhost'],
    ['a@größe.test', '', 'a@xn--gre-6ka8i.test'],
    ['Acme <Gru\u0308ße@acme.test>', 'Acme', 'Gr\u00fcße@acme.test']
  ] as const) {
    t.same(mailOf({ MAIL_FROM }).from, { name, address })
  }
  const { domain } = mailOf({ MAIL_FROM: 'a@acme.test' })
  t.equal(domain, 'id.example.com', 'the domain of the Message-IDs stays')
})

t.test('only outside production mails become files, in the data folder', async (t) => {
  const { DATABASE_URL: _, ...rest } = { ...COMPLETE, NODE_ENV: 'test' }
  t.equal(configOf(COMPLETE).mail.folder, null)
  t.equal(configOf({ ...rest, DATABASE_URL: 'pglite:/srv/x' }).mail.folder, '/srv/x/mail')
  t.equal(configOf(rest).mail.folder, 'data/mail')
})
