// The users of the benchmark. Each is generated from its number, so nothing has to be stored.

import { hash } from '@node-rs/argon2'
import { base32 } from '@scure/base'
import { codeAt } from '../test/support/rfc6238.ts'
import { secretFor } from './keys.ts'

export interface BenchUser {
  accountId: string
  userId: string
  authenticatorId: string
  email: string
  secret: Buffer
}

/** The password of every user. */
export const PASSWORD = 'correct horse battery staple'

/** Returns the hash of `PASSWORD` by OWASP's first choice, as in the service (src/crypto/password-hashing.ts). */
export function hashPassword(): Promise<string> {
  return hash(PASSWORD, { memoryCost: 19_456, timeCost: 2, parallelism: 1 })
}

/** A deployment has many customers. The users are divided evenly among these accounts. */
const ACCOUNTS = 20

export function accountIdOf(index: number): string {
  return idOf('a', index)
}

export function userAt(index: number): BenchUser {
  return {
    accountId: accountIdOf(index % ACCOUNTS),
    userId: idOf('b', index),
    authenticatorId: idOf('c', index),
    email: `user${index}@example.com`,
    secret: secretFor(`user ${index}`)
  }
}

export function accountIds(): string[] {
  return Array.from({ length: ACCOUNTS }, (_, index) => accountIdOf(index))
}

/** Returns the code that the user's authenticator app shows now. */
export function currentCode({ secret }: BenchUser): string {
  return codeAt({ secret: base32.encode(secret) }, new Date())
}

function idOf(kind: string, index: number): string {
  return `0198c0de-0000-7000-800${kind}-${index.toString(16).padStart(12, '0')}`
}
