// The background jobs of the service, and how often they run.
import type { Chaining } from './audit/chaining.ts'
import { FOLDED_SECONDS, type Refusals } from './audit/refusals.ts'
import type { Retention } from './audit/retention.ts'
import { tooOldToTell } from './core/mail/retries.ts'
import type { SigningKeyRing } from './crypto/signing-key-ring.ts'
import type { SsoIdentities } from './data/sign-in/sso-identities.ts'
import type { TrustedDevices } from './data/sign-in/trusted-devices.ts'
import type { Verdicts } from './data/sign-in/verdicts.ts'
import type { MailCounts } from './data/trail/mail-counts.ts'
import type { Outbox } from './data/trail/outbox.ts'
import type { StoredResponses } from './data/trail/stored-responses.ts'
import type { Enrollments } from './data/users/enrollments.ts'
import type { MailDelivery } from './delivery/mail/delivery.ts'
import type { Job } from './plugins/background.ts'

export interface BackgroundJobsOptions {
  verdicts: Verdicts
  enrollments: Enrollments
  trustedDevices: TrustedDevices
  storedResponses: StoredResponses
  ssoIdentities: SsoIdentities
  outbox: Outbox
  mailCounts: MailCounts
  /** Null if no mail server and no folder for mails is configured. */
  mail: MailDelivery | null
  chaining: Chaining
  refusals: Refusals
  retention: Retention
  signingKeys: SigningKeyRing
  now: () => Date
}

/** Returns the jobs. Every replica runs every job, so each one is safe to run concurrently. */
export function backgroundJobs({
  verdicts,
  enrollments,
  trustedDevices,
  storedResponses,
  ssoIdentities,
  outbox,
  mailCounts,
  mail,
  chaining,
  refusals,
  retention,
  signingKeys,
  now
}: BackgroundJobsOptions): Job[] {
  return [
    {
      name: 'deleting expired step tokens',
      everySeconds: 60,
      run: () => verdicts.forgetExpiredStepTokens(now())
    },
    {
      name: 'deleting expired enrollments',
      everySeconds: 60,
      run: () => enrollments.forgetExpired(now())
    },
    {
      name: 'deleting expired ID tokens',
      everySeconds: 60,
      run: () => ssoIdentities.forgetExpiredIdTokens(now())
    },
    {
      name: 'deleting expired trusted devices',
      everySeconds: 3600,
      run: () => trustedDevices.forgetExpired(now())
    },
    {
      name: 'deleting expired responses',
      everySeconds: 60,
      run: () => storedResponses.forgetExpired(now())
    },
    { name: 'deleting failed mails', everySeconds: 3600, run: () => outbox.forgetFailed(now()) },
    {
      name: 'deleting expired mail counts',
      everySeconds: 3600,
      run: () => mailCounts.forgetExpired(now())
    },
    {
      name: 'discarding unsent mails',
      everySeconds: 3600,
      run: () => outbox.giveUpUnsent(tooOldToTell(now()), now())
    },
    ...auditJobs({ chaining, refusals, retention }),
    // Often, because a leaked key is trusted until this replica has read that it was replaced.
    { name: 'reading signing keys', everySeconds: 2, run: () => signingKeys.keepUp() },
    ...(mail
      ? [{ name: 'sending mails', everySeconds: 1, run: async () => (await mail.deliverDue()) > 0 }]
      : [])
  ]
}

function auditJobs({
  chaining,
  refusals,
  retention
}: Pick<BackgroundJobsOptions, 'chaining' | 'refusals' | 'retention'>): Job[] {
  return [
    { name: 'chaining audit events', everySeconds: 1, run: (stop) => chaining.chainDue({ stop }) },
    {
      name: 'writing folded refusals',
      everySeconds: FOLDED_SECONDS,
      run: () => refusals.writeFolded()
    },
    {
      name: 'removing expired audit events',
      everySeconds: 3600,
      run: () => retention.removeExpired()
    }
  ]
}
