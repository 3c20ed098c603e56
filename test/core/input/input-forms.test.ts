// The forms to which input is brought.
import t from 'tap'
import { INPUT_FORMS } from '../../../src/core/input/input-forms.ts'

t.test('an id is read without regard to case', async (t) => {
  t.equal(
    INPUT_FORMS.uuid('0198C0DE-7A51-7CC2-9A3B-5B1D0C4F2E11'),
    '0198c0de-7a51-7cc2-9a3b-5b1d0c4f2e11'
  )
  t.equal(INPUT_FORMS.uuid('ME'), 'ME')
})

t.test(
  'an e-mail address loses surrounding spaces, and its domain becomes ASCII, its local part NFC',
  async (t) => {
    for (const [given, form] of [
      ['ada@example.com', 'ada@example.com'],
      [' ada@example.com ', 'ada@example.com'],
      ['ada@example.com\n', 'ada@example.com'],
      ['\u00a0ada@example.com', 'ada@example.com'],
      ['ada@bücher.example', 'ada@xn--bcher-kva.example'],
      ['ada@BU\u0308CHER.example', 'ada@xn--bcher-kva.example'],
      ['ada@例え。テスト', 'ada@xn--r8jz45g.xn--zckzah'],
      ['ada@xn--bcher-kva.example', 'ada@xn--bcher-kva.example'],
      ['ada @example.com', 'ada @example.com'],
      ['ada@büch er.example', 'ada@büch er.example'],
      ['ada@bücher.example/x', 'ada@bücher.example/x'],
      ['jo\u0308rg@example.com', 'j\u00f6rg@example.com'],
      ['用户@例え.jp', '用户@xn--r8jz45g.jp'],
      ['\u212aelvin@example.com', '\u212aelvin@example.com'],
      ['semi\u037ecolon@example.com', 'semi\u037ecolon@example.com'],
      ['bücher', 'bücher'],
      ['', '']
    ] as const) {
      t.equal(INPUT_FORMS.email(given), form, given)
    }
  }
)

t.test('text that is too long for an e-mail address is left as it is', async (t) => {
  const domain = `${'b\u00fccher.'.repeat(40)}example`
  t.equal(INPUT_FORMS.email(`ada@${domain}`), `ada@${domain}`)
})

t.test('a search finds both ways to write an accent', async (t) => {
  t.equal(INPUT_FORMS.search('e\u0301'), '\u00e9')
})
