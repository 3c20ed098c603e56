-- AlterTable
-- Null means that the provider was set before this release, which is long enough ago.
ALTER TABLE "Policy" ADD COLUMN     "ssoSince" TIMESTAMPTZ(3),
ADD COLUMN     "ssoTrustEmail" BOOLEAN NOT NULL DEFAULT false;

-- AlterTable
-- The previous release does not write these columns, so the id has a default and the others are nullable.
ALTER TABLE "SsoIdentity" ADD COLUMN     "email" TEXT,
ADD COLUMN     "id" UUID NOT NULL DEFAULT gen_random_uuid(),
ADD COLUMN     "lastUsedAt" TIMESTAMPTZ(3);

-- Until now, only a sign-in could link a user.
UPDATE "SsoIdentity" SET "lastUsedAt" = "createdAt";

-- CreateIndex
CREATE UNIQUE INDEX "SsoIdentity_accountId_id_key" ON "SsoIdentity"("accountId", "id");

-- A token that two accounts have used stays used in all of them. The previous release inserts with ON CONFLICT DO NOTHING,
-- so it obeys the new index too.
DELETE FROM "UsedIdToken" a USING "UsedIdToken" b
WHERE a.hash = b.hash AND a."accountId" > b."accountId";

-- CreateIndex
CREATE UNIQUE INDEX "UsedIdToken_hash_key" ON "UsedIdToken"("hash");
