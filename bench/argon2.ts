// Measures argon2id alone: verifies a number of passwords with the concurrency of the service, and nothing else. Prints
// passwords per second.
import { verify } from '@node-rs/argon2'
import pLimit from 'p-limit'
import { CONCURRENT_HASHES_MAX } from '../src/crypto/password-hashing.ts'

const [hash = '', password = '', count = '0'] = process.argv.slice(2)
const limit = pLimit(CONCURRENT_HASHES_MAX)
const verifyAll = (times: number) =>
  Promise.all(Array.from({ length: times }, () => limit(() => verify(hash, password))))

await verifyAll(Number(count))
const startedAt = performance.now()
await verifyAll(Number(count))
console.log(Number(count) / ((performance.now() - startedAt) / 1000))
