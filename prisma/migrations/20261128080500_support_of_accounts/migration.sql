-- AlterTable
ALTER TABLE "Account" ADD COLUMN "issuerName" TEXT,
ADD COLUMN "supportUrl" TEXT,
ADD COLUMN "supportEmail" TEXT;
