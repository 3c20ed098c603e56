import fc from 'fast-check'
import t from 'tap'
import { isMatchedBy, strongEtag } from '../../src/core/etags.ts'

const TAG = strongEtag({ a: 1 })

t.test(
  'a tag is strong (RFC 9110 §8.8.3): equal representations have equal tags, and others do not',
  async (t) => {
    t.match(TAG, /^"[\x21\x23-\x7e]+"$/)
    t.equal(strongEtag({ a: 1 }), TAG)
    t.not(strongEtag({ a: 2 }), TAG)
    t.not(strongEtag({ a: '1' }), TAG)
  }
)

t.test('If-Match matches a tag alone, in a list, or by an asterisk', async (t) => {
  for (const ifMatch of [
    TAG,
    ` ${TAG} `,
    `"x", ${TAG}`,
    `${TAG},"x"`,
    `W/${TAG}`,
    `"x", W/${TAG}`,
    '*',
    ' * '
  ]) {
    t.equal(isMatchedBy(ifMatch, TAG), true, ifMatch)
  }
  const bare = TAG.replaceAll('"', '')
  for (const ifMatch of [
    '',
    '""',
    '"x"',
    bare,
    `w/${TAG}`,
    `W/W/${TAG}`,
    `${TAG}x`,
    '"*"',
    ',',
    `"x" ${TAG}`
  ]) {
    t.equal(isMatchedBy(ifMatch, TAG), false, ifMatch)
  }
})

t.test('property: the tag of another representation does not match', async (t) => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.integer()), (other) => {
      return !isMatchedBy(strongEtag(other), TAG) || JSON.stringify(other) === '{"a":1}'
    })
  )
  t.pass()
})
