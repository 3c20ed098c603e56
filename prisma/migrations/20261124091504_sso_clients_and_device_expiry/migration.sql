-- DropIndex
DROP INDEX "SsoIdentity_accountId_userId_issuer_key";

-- AlterTable
ALTER TABLE "SsoIdentity" ADD COLUMN     "clientId" TEXT;

-- Whoever is linked came through the client that the account has now; of a provider that it has left, no client is known.
UPDATE "SsoIdentity" s SET "clientId" = p."ssoClientId" FROM "Policy" p
WHERE p."accountId" = s."accountId" AND p."ssoIssuer" = s."issuer";
UPDATE "SsoIdentity" SET "clientId" = '' WHERE "clientId" IS NULL;

-- AlterTable
ALTER TABLE "SsoIdentity" ALTER COLUMN "clientId" SET NOT NULL,
DROP CONSTRAINT "SsoIdentity_pkey",
ADD CONSTRAINT "SsoIdentity_pkey" PRIMARY KEY ("accountId", "issuer", "clientId", "subject");

-- CreateIndex
CREATE UNIQUE INDEX "SsoIdentity_accountId_userId_issuer_clientId_key" ON "SsoIdentity"("accountId", "userId", "issuer", "clientId");

-- CreateIndex
CREATE INDEX "TrustedDevice_expiresAt_idx" ON "TrustedDevice"("expiresAt");
