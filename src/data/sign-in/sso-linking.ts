// Links a user to an identity in the statement that accepts a code. A sign-in through a new provider proves only what the
// provider says, so the link of a user who has an authenticator needs a code too.
import type { SsoLink } from '../../core/claims.ts'
import type { Notice } from '../../core/mail/notices.ts'
import { on, template } from '../engine/statements.ts'
import { noticeInsert } from '../trail/outbox.ts'
import type { UserKey } from './subjects.ts'

/** The link that a right code makes. */
export interface NewSsoLink extends SsoLink {
  id: string
  /** Sent if the user was not linked before. */
  notice: Notice
}

interface Linking {
  judged: UserKey
  record: { link: NewSsoLink | null; event: { occurredAt: Date } }
}

const accountId = ({ judged }: Linking) => judged.accountId
const issuer = ({ record }: Linking) => record.link?.issuer
const clientId = ({ record }: Linking) => record.link?.clientId
const subject = ({ record }: Linking) => record.link?.subject
const now = ({ record }: Linking) => record.event.occurredAt

/**
 * CTEs for a statement that also makes a link. `isAdmitted` is false if the account has another provider or client by
 * now, or no single sign-on. `linked` follows the CTE "user". It changes nothing if a concurrent sign-in has linked the
 * user or the identity otherwise.
 */
export const linking = {
  isAdmitted: template<Linking>`AND EXISTS (SELECT 1 FROM "Policy"
    WHERE "accountId" = ${accountId}::uuid AND "ssoMode" <> 'off'
      AND "ssoIssuer" = ${issuer} AND "ssoClientId" = ${clientId})`,
  linked: template<Linking>`, used AS (
    UPDATE "SsoIdentity" s SET "lastUsedAt" = ${now}::timestamptz
    FROM "user" WHERE s."accountId" = "user"."accountId" AND s."userId" = "user".id
      AND s.issuer = ${issuer} AND s."clientId" = ${clientId} AND s.subject = ${subject}
  ), linked AS (
    INSERT INTO "SsoIdentity"
      ("accountId", issuer, "clientId", subject, "userId", id, email, "createdAt", "lastUsedAt")
    SELECT "accountId", ${issuer}, ${clientId}, ${subject}, id,
      ${({ record }) => record.link?.id}::uuid, ${({ record }) => record.link?.email},
      ${now}::timestamptz, ${now}::timestamptz FROM "user"
    ON CONFLICT DO NOTHING
    RETURNING id
  ), link_notified AS (${on(({ record }: Linking) => record.link?.notice ?? null, noticeInsert('linked'))})`
}
