// Tests the tests' own code generator against RFC 6238 appendix B and RFC 4648 §10.
import t from 'tap'
import { type Authenticator, codeAt, decodeBase32, timeStepAt } from './rfc6238.ts'

// The ASCII seeds of appendix B in base32. The RFC's table uses a longer seed for each longer hash
// (erratum 2866), but the RFC's text does not mention that.
const SHA1 = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ'
const SHA256 = `${SHA1}GEZDGNBVGY3TQOJQGEZA`
const SHA512 = `${SHA1.repeat(3)}GEZDGNA`

const APPENDIX_B: [seconds: number, sha1: string, sha256: string, sha512: string][] = [
  [59, '94287082', '46119246', '90693936'],
  [1111111109, '07081804', '68084774', '25091201'],
  [1111111111, '14050471', '67062674', '99943326'],
  [1234567890, '89005924', '91819424', '93441116'],
  [2000000000, '69279037', '90698825', '38618901'],
  [20000000000, '65353130', '77737706', '47863826']
]

const eightDigitsAt = (app: Authenticator, seconds: number) =>
  codeAt({ ...app, digits: 8 }, new Date(seconds * 1000))

t.test('the seeds are those of appendix B', async (t) => {
  t.equal(decodeBase32(SHA1).toString(), '12345678901234567890')
  t.equal(decodeBase32(SHA256).toString(), '12345678901234567890123456789012')
  t.equal(
    decodeBase32(SHA512).toString(),
    '1234567890123456789012345678901234567890123456789012345678901234'
  )
})

for (const [seconds, sha1, sha256, sha512] of APPENDIX_B) {
  t.test(`the codes at ${seconds} s are those of appendix B`, async (t) => {
    t.equal(eightDigitsAt({ secret: SHA1 }, seconds), sha1)
    t.equal(eightDigitsAt({ secret: SHA256, algorithm: 'SHA256' }, seconds), sha256)
    t.equal(eightDigitsAt({ secret: SHA512, algorithm: 'SHA512' }, seconds), sha512)
  })
}

t.test('six digits are the last six of the eight', async (t) => {
  t.equal(codeAt({ secret: SHA1 }, new Date(59_000)), '287082')
  t.equal(codeAt({ secret: SHA1 }, new Date(1111111109_000)), '081804', 'with its leading zero')
})

t.test('a step begins with its first millisecond and ends before the next', async (t) => {
  t.equal(timeStepAt(new Date(29_999)), 0)
  t.equal(timeStepAt(new Date(30_000)), 1)
  t.equal(timeStepAt(new Date(59_999)), 1)
  t.equal(timeStepAt(new Date(60_000), 60), 1)
  t.equal(codeAt({ secret: SHA1 }, new Date(30_000)), codeAt({ secret: SHA1 }, new Date(59_999)))
})

t.test('base32 decodes the vectors of RFC 4648 §10', async (t) => {
  for (const [text, bytes] of [
    ['', ''],
    ['MY======', 'f'],
    ['MZXQ====', 'fo'],
    ['MZXW6===', 'foo'],
    ['MZXW6YQ=', 'foob'],
    ['MZXW6YTB', 'fooba'],
    ['MZXW6YTBOI======', 'foobar']
  ] as const) {
    t.equal(decodeBase32(text).toString(), bytes)
  }
})

t.test('a setup key typed in groups and in lower case is the same key', async (t) => {
  t.same(decodeBase32('gezd gnbv gy3t qojq'), decodeBase32('GEZDGNBVGY3TQOJQ'))
  t.throws(() => decodeBase32('GEZD1'), TypeError)
})
