-- AlterTable
-- Guesses after single sign-on so far count on the paths after a password. A constant default does not rewrite the table.
ALTER TABLE "User" ADD COLUMN     "ssoCodeDisabledAt" TIMESTAMPTZ(3),
ADD COLUMN     "ssoCodeFailures" INTEGER NOT NULL DEFAULT 0,
ADD COLUMN     "ssoCodeLockedUntil" TIMESTAMPTZ(3),
ADD COLUMN     "ssoRecoveryFailures" INTEGER NOT NULL DEFAULT 0,
ADD COLUMN     "ssoRecoveryLockedUntil" TIMESTAMPTZ(3);
