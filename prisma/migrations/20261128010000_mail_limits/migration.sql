-- AlterTable
ALTER TABLE "OutboxMail" ADD COLUMN     "held" BOOLEAN NOT NULL DEFAULT false,
ADD COLUMN     "priority" INTEGER NOT NULL DEFAULT 0,
ADD COLUMN     "repeats" INTEGER NOT NULL DEFAULT 0,
ADD COLUMN     "repeatsSince" TIMESTAMPTZ(3);

-- CreateTable
CREATE TABLE "MailCount" (
    "key" BYTEA NOT NULL,
    "startedAt" TIMESTAMPTZ(3) NOT NULL,
    "count" INTEGER NOT NULL,

    CONSTRAINT "MailCount_pkey" PRIMARY KEY ("key")
);

-- CreateIndex
CREATE INDEX "MailCount_startedAt_idx" ON "MailCount"("startedAt");

-- CreateIndex
CREATE INDEX "OutboxMail_failedAt_priority_accountId_dueAt_idx" ON "OutboxMail"("failedAt", "priority", "accountId", "dueAt");

-- CreateIndex
CREATE INDEX "OutboxMail_recipient_kind_idx" ON "OutboxMail"("recipient", "kind");

-- Announcements to every user of an account that wait already. The service sends them after all other mails.
UPDATE "OutboxMail" SET "priority" = 1 WHERE "kind" = 'two_factor_required';
