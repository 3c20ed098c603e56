-- CreateEnum
CREATE TYPE "PolicyAudience" AS ENUM ('everyone', 'admins');

-- CreateEnum
CREATE TYPE "Requirer" AS ENUM ('self', 'admin');

-- AlterTable
ALTER TABLE "Policy" ADD COLUMN     "appliesTo" "PolicyAudience" NOT NULL DEFAULT 'everyone';

-- AlterTable
ALTER TABLE "User" ADD COLUMN     "requiredBy" "Requirer",
ADD COLUMN     "requiredSince" TIMESTAMPTZ(3),
ADD COLUMN     "resetPendingSince" TIMESTAMPTZ(3);
