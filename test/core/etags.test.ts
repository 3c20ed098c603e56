import fc from 'fast-check'
import t from 'tap'
import { isMatchedBy, strongEtag } from '../../src/core/etags.ts'

const TAG = strongEtag({ a: 1 })

t.test(
  'a tag is a strong one (RFC 9110 §8.8.3), the same for the same and for nothing else',
  async (t) => {
    t.match(TAG, /^"[\x21\x23-\x7e]+"$/)
    t.equal(strongEtag({ a: 1 }), TAG)
    t.not(strongEtag({ a: 2 }), TAG)
    t.not(strongEtag({ a: '1' }), TAG)
  }
)

t.test('If-Match names a tag by itself, in a list, or as any', async (t) => {
  for (const ifMatch of [TAG, ` ${TAG} `, `"x", ${TAG}`, `${TAG},"x"`, '*', ' * ']) {
    t.equal(isMatchedBy(ifMatch, TAG), true, ifMatch)
  }
  const bare = TAG.replaceAll('"', '')
  for (const ifMatch of ['', '""', '"x"', bare, `W/${TAG}`, `${TAG}x`, '"*"', ',', `"x" ${TAG}`]) {
    t.equal(isMatchedBy(ifMatch, TAG), false, ifMatch)
  }
})

t.test('no other representation is matched', async (t) => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.integer()), (other) => {
      return !isMatchedBy(strongEtag(other), TAG) || JSON.stringify(other) === '{"a":1}'
    })
  )
  t.pass()
})
