import { randomUUID } from 'node:crypto'
import { v7 as uuidv7 } from 'uuid'
import type { AuditEvent } from '../../src/core/audit/events.ts'
import { NINE } from './clock.ts'

/** Returns the event of an admin's reset of another user, at nine o'clock, with the given fields instead of its own. */
export function auditEvent(given: Partial<AuditEvent> = {}): AuditEvent {
  const userId = given.userId === undefined ? randomUUID() : given.userId
  return {
    accountId: randomUUID(),
    id: uuidv7(),
    occurredAt: NINE,
    type: 'user.reset',
    outcome: 'succeeded',
    actor: { kind: 'user', id: randomUUID(), credential: 'access_token' },
    target: userId === null ? null : { kind: 'user', id: userId },
    reason: 'Lost the phone',
    ticket: null,
    address: '198.51.100.7',
    requestId: uuidv7(),
    details: null,
    ...given,
    userId
  }
}

/** Texts that a caller may send as a reason. The service must store them unchanged, and never execute them. */
export const HOSTILE_TEXTS = [
  `'; DROP TABLE "AuditEvent"; --`,
  `"quoted" \\ 'twice' \\' $1 $$ %s \${1}`,
  'first line\nsecond line\r\n{"type":"user.reset","outcome":"succeeded"}\t\u0001\u001b[2J\u007f',
  '\u202egnp.exe \u200b\ufeff\u2028\u2029 naïve 日本語 👩🏽‍💻 e\u0301 \u00e9',
  '","ticket":"4711","x":"',
  '<script>alert(1)</script>',
  'x'.repeat(100_000),
  '',
  ' ',
  'null'
]
