-- CreateEnum
CREATE TYPE "AuditOutcome" AS ENUM ('succeeded', 'refused');

-- CreateTable
CREATE TABLE "TrustedDevice" (
    "accountId" UUID NOT NULL,
    "userId" UUID NOT NULL,
    "id" UUID NOT NULL,
    "createdAt" TIMESTAMPTZ(3) NOT NULL,
    "lastUsedAt" TIMESTAMPTZ(3),
    "expiresAt" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "TrustedDevice_pkey" PRIMARY KEY ("accountId","userId","id")
);

-- CreateTable
CREATE TABLE "AuditEvent" (
    "accountId" UUID NOT NULL,
    "occurredAt" TIMESTAMPTZ(3) NOT NULL,
    "id" UUID NOT NULL,
    "type" TEXT NOT NULL,
    "outcome" "AuditOutcome" NOT NULL,
    "actorKind" TEXT NOT NULL,
    "actorId" TEXT,
    "credential" TEXT,
    "targetKind" TEXT,
    "targetId" TEXT,
    "userId" UUID,
    "reason" TEXT,
    "ticket" TEXT,
    "address" TEXT NOT NULL,
    "requestId" UUID NOT NULL,
    "details" JSON,
    "mac" BYTEA NOT NULL,

    CONSTRAINT "AuditEvent_pkey" PRIMARY KEY ("accountId","occurredAt","id")
);

-- CreateTable
CREATE TABLE "UnsealedAuditEvent" (
    "accountId" UUID NOT NULL,
    "occurredAt" TIMESTAMPTZ(3) NOT NULL,
    "id" UUID NOT NULL,

    CONSTRAINT "UnsealedAuditEvent_pkey" PRIMARY KEY ("accountId","occurredAt","id")
);

-- CreateTable
CREATE TABLE "AuditSeal" (
    "sequence" BIGINT NOT NULL,
    "accountId" UUID NOT NULL,
    "occurredAt" TIMESTAMPTZ(3) NOT NULL,
    "eventId" UUID NOT NULL,
    "hash" BYTEA NOT NULL,

    CONSTRAINT "AuditSeal_pkey" PRIMARY KEY ("sequence")
);

-- CreateTable
CREATE TABLE "AuditKey" (
    "id" TEXT NOT NULL,
    "sealedKey" TEXT NOT NULL,
    "createdAt" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "AuditKey_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "OutboxMail" (
    "accountId" UUID NOT NULL,
    "id" UUID NOT NULL DEFAULT gen_random_uuid(),
    "kind" TEXT NOT NULL,
    "recipient" TEXT NOT NULL,
    "occurredAt" TIMESTAMPTZ(3) NOT NULL,
    "address" TEXT,
    "details" JSONB NOT NULL,
    "dueAt" TIMESTAMPTZ(3) NOT NULL,
    "tries" INTEGER NOT NULL DEFAULT 0,
    "failedAt" TIMESTAMPTZ(3),
    "lastError" TEXT,

    CONSTRAINT "OutboxMail_pkey" PRIMARY KEY ("accountId","id")
);

-- CreateIndex
CREATE INDEX "AuditEvent_accountId_userId_occurredAt_id_idx" ON "AuditEvent"("accountId", "userId", "occurredAt", "id");

-- CreateIndex
CREATE INDEX "AuditEvent_accountId_actorId_occurredAt_id_idx" ON "AuditEvent"("accountId", "actorId", "occurredAt", "id");

-- CreateIndex
CREATE INDEX "AuditEvent_accountId_type_occurredAt_id_idx" ON "AuditEvent"("accountId", "type", "occurredAt", "id");

-- CreateIndex
CREATE UNIQUE INDEX "AuditSeal_accountId_occurredAt_eventId_key" ON "AuditSeal"("accountId", "occurredAt", "eventId");

-- CreateIndex
CREATE INDEX "OutboxMail_failedAt_dueAt_idx" ON "OutboxMail"("failedAt", "dueAt");

-- CreateIndex
CREATE INDEX "User_id_idx" ON "User" USING HASH ("id");

-- AddForeignKey
ALTER TABLE "TrustedDevice" ADD CONSTRAINT "TrustedDevice_accountId_userId_fkey" FOREIGN KEY ("accountId", "userId") REFERENCES "User"("accountId", "id") ON DELETE CASCADE ON UPDATE CASCADE;

-- Append-only. The service's own role may own these tables and could disable the triggers: in production it is better
-- a role that owns nothing and may only INSERT and SELECT here.
CREATE FUNCTION "refuseChange"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER "AuditEvent_append_only" BEFORE UPDATE OR DELETE ON "AuditEvent"
  FOR EACH ROW EXECUTE FUNCTION "refuseChange"();
CREATE TRIGGER "AuditEvent_no_truncate" BEFORE TRUNCATE ON "AuditEvent"
  FOR EACH STATEMENT EXECUTE FUNCTION "refuseChange"();
CREATE TRIGGER "AuditSeal_append_only" BEFORE UPDATE OR DELETE ON "AuditSeal"
  FOR EACH ROW EXECUTE FUNCTION "refuseChange"();
CREATE TRIGGER "AuditSeal_no_truncate" BEFORE TRUNCATE ON "AuditSeal"
  FOR EACH STATEMENT EXECUTE FUNCTION "refuseChange"();

-- ALWAYS: also where session_replication_role would silence ordinary triggers.
ALTER TABLE "AuditEvent" ENABLE ALWAYS TRIGGER "AuditEvent_append_only";
ALTER TABLE "AuditEvent" ENABLE ALWAYS TRIGGER "AuditEvent_no_truncate";
ALTER TABLE "AuditSeal" ENABLE ALWAYS TRIGGER "AuditSeal_append_only";
ALTER TABLE "AuditSeal" ENABLE ALWAYS TRIGGER "AuditSeal_no_truncate";

-- What is to be chained, in the transaction of the event itself: nothing is missed, whichever order they commit in.
CREATE FUNCTION "enqueueForSealing"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO "UnsealedAuditEvent" ("accountId", "occurredAt", id)
    VALUES (NEW."accountId", NEW."occurredAt", NEW.id);
  RETURN NULL;
END $$;

CREATE TRIGGER "AuditEvent_enqueue" AFTER INSERT ON "AuditEvent"
  FOR EACH ROW EXECUTE FUNCTION "enqueueForSealing"();
