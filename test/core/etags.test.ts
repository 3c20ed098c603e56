import t from 'tap'
import { isMatchedBy, strongEtag } from '../../src/core/etags.ts'

t.test('a tag is strong and differs for every version', async (t) => {
  t.equal(strongEtag(7), '"7"')
  t.equal(new Set(Array.from({ length: 100 }, (_, version) => strongEtag(version))).size, 100)
})

t.test('If-Match names a version by its tag, in a list, or by a star', async (t) => {
  for (const ifMatch of [
    '"7"',
    ' "7" ',
    '*',
    ' * ',
    '"6", "7"',
    '"6","7"',
    '"7" , "8"',
    'x, "7"'
  ]) {
    t.equal(isMatchedBy(ifMatch, 7), true, ifMatch)
  }
  t.equal(isMatchedBy(strongEtag(12), 12), true)
})

t.test('If-Match compares strongly and whole (RFC 9110 §13.1.1)', async (t) => {
  for (const ifMatch of [
    ...[
      '',
      ' ',
      ',',
      '"8"',
      '"17"',
      '"70"',
      '7',
      "'7'",
      '"7',
      '7"',
      '"07"',
      '" 7"',
      '"7 "',
      '"7.0"'
    ],
    ...['W/"7"', 'w/"7"', 'W/"6", W/"7"', '**', '"*"', '"6" "7"', '"٧"', '\0', '"7"x']
  ]) {
    t.equal(isMatchedBy(ifMatch, 7), false, JSON.stringify(ifMatch))
  }
})
