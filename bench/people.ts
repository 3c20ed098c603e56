// People to measure with, made by number: nothing of them has to be kept.

import { base32 } from '@scure/base'
import { codeAt } from '../test/support/rfc6238.ts'
import { secretNamed } from './keys.ts'

export interface Person {
  accountId: string
  userId: string
  authenticatorId: string
  email: string
  secret: Buffer
}

/** A deployment has many customers, and they are not of one size; the largest of ours has a tenth of all people. */
const ACCOUNTS = 20

export function accountIdOf(index: number): string {
  return idOf('a', index)
}

export function personAt(index: number): Person {
  return {
    accountId: accountIdOf(index % ACCOUNTS),
    userId: idOf('b', index),
    authenticatorId: idOf('c', index),
    email: `user${index}@example.com`,
    secret: secretNamed(`person ${index}`)
  }
}

export function accountIds(): string[] {
  return Array.from({ length: ACCOUNTS }, (_, index) => accountIdOf(index))
}

/** What the person's app shows now. */
export function codeOf({ secret }: Person): string {
  return codeAt({ secret: base32.encode(secret) }, new Date())
}

function idOf(kind: string, index: number): string {
  return `0198c0de-0000-7000-800${kind}-${index.toString(16).padStart(12, '0')}`
}
