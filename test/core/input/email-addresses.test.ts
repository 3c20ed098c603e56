// Which text is an e-mail address, and the form in which addresses are stored.
import t from 'tap'
import {
  isMailAddress,
  isUserAddress,
  needsSmtpUtf8,
  storedAddress
} from '../../../src/core/input/email-addresses.ts'

t.test('an address of a user has letters of all scripts before the @', async (t) => {
  for (const address of [
    'ada@example.com',
    "o'neil+a.b_c@sub.example.com",
    'jörg@example.com',
    '用户@xn--r8jz45g.jp',
    'अजय@example.com',
    'йцукен.ö1@example.com'
  ]) {
    t.ok(isUserAddress(address), address)
    t.ok(isMailAddress(address), address)
  }
})

t.test('other text is not an address of a user', async (t) => {
  for (const text of [
    '',
    'jörg',
    '@example.com',
    'jörg@',
    'jörg@example',
    'jö..rg@example.com',
    '.jörg@example.com',
    'jörg@example..com',
    'jörg@bücher.example',
    'jörg@example.\u212aom',
    'jö rg@example.com',
    'jörg\n@example.com',
    'a@b, jörg@example.com',
    'jörg\u00a0x@example.com',
    'jörg\u202ex@example.com',
    'jörg\u200bx@example.com',
    'jörg\u3164@example.com',
    'jörg\ufe0f@example.com',
    'jörg\u{e0100}@example.com',
    '\u212aelvin@example.com',
    'semi\u037ecolon@example.com',
    '❤@example.com',
    '\ud800@example.com',
    `${'ö'.repeat(243)}@example.com`
  ]) {
    t.notOk(isUserAddress(text), JSON.stringify(text))
  }
  t.ok(isMailAddress('no-reply@localhost'))
  for (const text of [
    'a@b, c@d',
    'jö<rg@example.com',
    'jörg@exämple.com',
    'jö\r\nrg@example.com'
  ]) {
    t.notOk(isMailAddress(text), text)
  }
})

t.test('addresses are stored in lower case and in NFC', async (t) => {
  t.equal(storedAddress('JO\u0308RG@Example.com'), 'j\u00f6rg@example.com')
  t.equal(storedAddress('J\u030c@example.com'), '\u01f0@example.com')
  t.notOk(needsSmtpUtf8('ada@xn--bcher-kva.example'))
  t.ok(needsSmtpUtf8('jörg@example.com'))
})

t.test('long text is judged in linear time', async (t) => {
  t.notOk(isUserAddress(`${'a'.repeat(250)}!`))
  t.notOk(isUserAddress(`${'a.'.repeat(120)}@`))
  t.notOk(isMailAddress(`${'ö'.repeat(100_000)}`))
})
