-- The audit key becomes one of several: the sealed value stays as it is.
ALTER TABLE "AuditKey" RENAME TO "ServiceKey";
ALTER TABLE "ServiceKey" RENAME CONSTRAINT "AuditKey_pkey" TO "ServiceKey_pkey";

-- Made under keys that were derived from the master keys and are used no more. They could never be right again, and left
-- where they are they would be counted as codes that somebody still has.
DELETE FROM "RecoveryCode";
DELETE FROM "TrustedDevice";
