-- CreateEnum
CREATE TYPE "SsoMode" AS ENUM ('off', 'optional', 'required');

-- AlterTable
ALTER TABLE "Policy" ADD COLUMN     "graceDays" INTEGER NOT NULL DEFAULT 0,
ADD COLUMN     "requiredFrom" TIMESTAMPTZ(3),
ADD COLUMN     "requiredSince" TIMESTAMPTZ(3),
ADD COLUMN     "ssoClientId" TEXT,
ADD COLUMN     "ssoIssuer" TEXT,
ADD COLUMN     "ssoMode" "SsoMode" NOT NULL DEFAULT 'off',
ADD COLUMN     "trustedDeviceDays" INTEGER NOT NULL DEFAULT 30,
ADD COLUMN     "trustedDevicesAllowed" BOOLEAN NOT NULL DEFAULT false;

-- AlterTable
ALTER TABLE "TrustedDevice" ADD COLUMN     "generation" INTEGER NOT NULL DEFAULT 1,
ADD COLUMN     "rotatedAt" TIMESTAMPTZ(3);

-- CreateTable
CREATE TABLE "Mandate" (
    "accountId" UUID NOT NULL,
    "requiredFrom" TIMESTAMPTZ(3) NOT NULL,
    "reason" TEXT,
    "updatedAt" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "Mandate_pkey" PRIMARY KEY ("accountId")
);

-- CreateTable
CREATE TABLE "SsoIdentity" (
    "accountId" UUID NOT NULL,
    "issuer" TEXT NOT NULL,
    "subject" TEXT NOT NULL,
    "userId" UUID NOT NULL,
    "createdAt" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "SsoIdentity_pkey" PRIMARY KEY ("accountId","issuer","subject")
);

-- CreateTable
CREATE TABLE "UsedIdToken" (
    "accountId" UUID NOT NULL,
    "hash" BYTEA NOT NULL,
    "expiresAt" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "UsedIdToken_pkey" PRIMARY KEY ("accountId","hash")
);

-- CreateIndex
CREATE UNIQUE INDEX "SsoIdentity_accountId_userId_issuer_key" ON "SsoIdentity"("accountId", "userId", "issuer");

-- CreateIndex
CREATE INDEX "UsedIdToken_expiresAt_idx" ON "UsedIdToken"("expiresAt");

-- AddForeignKey
ALTER TABLE "Mandate" ADD CONSTRAINT "Mandate_accountId_fkey" FOREIGN KEY ("accountId") REFERENCES "Account"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "SsoIdentity" ADD CONSTRAINT "SsoIdentity_accountId_userId_fkey" FOREIGN KEY ("accountId", "userId") REFERENCES "User"("accountId", "id") ON DELETE CASCADE ON UPDATE CASCADE;
