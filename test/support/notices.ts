// Notices in the form in which acts write them, for tests of their delivery.
import type { Notice, NoticeDetails, NoticeKind } from '../../src/core/mail/notices.ts'
import type { Database } from '../../src/data/engine/database.ts'
import { insertNotice } from '../../src/data/trail/outbox.ts'

/** The details of one notice of each kind. */
export const DETAILS: NoticeDetails = {
  two_factor_enabled: { authenticator: 'Phone' },
  two_factor_disabled: {},
  authenticator_added: { authenticator: 'Tablet' },
  authenticator_replaced: { authenticator: 'New phone', replaced: 'Old phone' },
  authenticator_removed: { authenticator: 'Tablet' },
  recovery_code_used: { remaining: 7 },
  recovery_codes_regenerated: {},
  codes_disabled: { recoveryCodesRemaining: 4 },
  many_second_steps: {},
  device_revoked_after_reuse: {},
  sso_linked: {},
  sso_linked_by_others: { provider: 'login.acme.example' },
  sso_unlinked: { provider: 'login.acme.example' },
  sso_changed: {
    mode: 'optional',
    provider: 'login.acme.example',
    client: 'twostep',
    addresses: 'verified',
    by: 'api_key',
    actor: 'abcdefghijkl'
  },
  two_factor_reset: { by: 'admin' },
  support_reset: { ticket: 'CASE-4711' },
  support_reset_of_user: {
    by: 'operator',
    actor: null,
    ticket: 'CASE-4711',
    user: 'ada@example.com'
  },
  two_factor_required: { from: '2026-03-01T00:00:00.000Z' },
  two_factor_required_of_user: { by: 'admin' },
  two_factor_requirement_withdrawn: { by: 'admin' },
  signed_out: { devicesForgotten: true },
  password_changed: {},
  email_changed: { from: 'ada@example.com', to: 'ada@example.org' },
  device_trusted: { until: '2026-03-01T00:00:00.000Z' },
  role_changed: { role: 'admin' },
  user_disabled: {},
  user_enabled: {},
  user_deleted: {},
  admin_added: { by: 'admin', actor: 'bob@example.com', user: 'ada@example.com' },
  admin_removed: { by: 'operator', actor: null, user: 'ada@example.com', how: 'demoted' },
  api_key_created: { by: 'api_key', actor: 'abcdefghijkl', name: 'Roster', scopes: ['users:read'] },
  api_keys_revoked: { by: 'api_key', actor: 'abcdefghijkl', names: ['Roster', 'Sign-in'] },
  policy_changed: {
    ...{ by: 'admin', actor: 'bob@example.com' },
    changes: [{ field: 'twoFactor', from: 'optional', to: 'required' }]
  },
  mandate_set: {
    by: 'operator',
    actor: null,
    from: '2026-03-01T00:00:00.000Z',
    reason: 'Contract'
  },
  account_changed: { by: 'operator', actor: null, fields: ['name', 'supportEmail'] }
}

export const KINDS = Object.keys(DETAILS) as NoticeKind[]

export interface NoticeSettings {
  accountId: string
  occurredAt: Date
  recipient?: string
  address?: string | null
}

/** Returns a notice of a kind, with the details above unless others are given. */
export function noticeOf<Kind extends NoticeKind>(
  kind: Kind,
  settings: NoticeSettings,
  details: NoticeDetails[Kind] = DETAILS[kind]
): Notice {
  const given = { recipient: 'ada@example.com', address: '203.0.113.7', ...settings }
  // Kind and details belong together, but the compiler cannot infer that from the union.
  return { ...given, kind, details } as unknown as Notice
}

/** Writes notices to the outbox, as the transaction of an act does. */
export async function putIntoOutbox({ prisma }: Database, notices: Notice[]): Promise<void> {
  await Promise.all(notices.map((notice) => prisma.$executeRaw(insertNotice(notice))))
}
