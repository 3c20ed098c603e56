// All that the service does of itself, and how often.

import type { Chaining } from './audit/chaining.ts'
import { tooOldToTell } from './core/mail/retries.ts'
import type { SigningKeyRing } from './crypto/signing-key-ring.ts'
import type { SsoIdentities } from './data/sign-in/sso-identities.ts'
import type { TrustedDevices } from './data/sign-in/trusted-devices.ts'
import type { Verdicts } from './data/sign-in/verdicts.ts'
import type { Outbox } from './data/trail/outbox.ts'
import type { Enrollments } from './data/users/enrollments.ts'
import type { MailDelivery } from './delivery/mail/delivery.ts'
import type { Job } from './plugins/background.ts'

export interface BackgroundJobsOptions {
  verdicts: Verdicts
  enrollments: Enrollments
  trustedDevices: TrustedDevices
  ssoIdentities: SsoIdentities
  outbox: Outbox
  /** Null: there is nowhere to send mails to. */
  mail: MailDelivery | null
  chaining: Chaining
  signingKeys: SigningKeyRing
  now: () => Date
}

export function backgroundJobs({
  verdicts,
  enrollments,
  trustedDevices,
  ssoIdentities,
  outbox,
  mail,
  chaining,
  signingKeys,
  now
}: BackgroundJobsOptions): Job[] {
  return [
    {
      name: 'forgetting step tokens',
      everySeconds: 60,
      run: () => verdicts.forgetExpiredStepTokens(now())
    },
    {
      name: 'forgetting enrolments',
      everySeconds: 60,
      run: () => enrollments.forgetExpired(now())
    },
    {
      name: 'forgetting ID tokens',
      everySeconds: 60,
      run: () => ssoIdentities.forgetExpiredIdTokens(now())
    },
    {
      name: 'forgetting trusted devices',
      everySeconds: 3600,
      run: () => trustedDevices.forgetExpired(now())
    },
    { name: 'forgetting failed mails', everySeconds: 3600, run: () => outbox.forgetFailed(now()) },
    { name: 'chaining audit events', everySeconds: 1, run: (stop) => chaining.chainDue({ stop }) },
    // Often, since a key that has leaked is trusted until then.
    { name: 'keeping up with signing keys', everySeconds: 2, run: () => signingKeys.keepUp() },
    mail
      ? { name: 'sending mails', everySeconds: 1, run: async () => (await mail.deliverDue()) > 0 }
      : {
          name: 'giving up mails',
          everySeconds: 3600,
          run: () => outbox.giveUpUnsent(tooOldToTell(now()), now())
        }
  ]
}
