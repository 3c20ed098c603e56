-- AlterTable
ALTER TABLE "UnsealedAuditEvent" DROP CONSTRAINT "UnsealedAuditEvent_pkey",
ADD CONSTRAINT "UnsealedAuditEvent_pkey" PRIMARY KEY ("occurredAt", "id", "accountId");
