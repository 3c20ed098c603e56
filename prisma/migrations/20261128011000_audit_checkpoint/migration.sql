-- CreateTable
CREATE TABLE "AuditCheckpoint" (
    "id" INTEGER NOT NULL DEFAULT 1,
    "sequence" BIGINT NOT NULL,
    "hash" BYTEA NOT NULL,
    "removed" BIGINT NOT NULL,
    "occurredBefore" TIMESTAMPTZ(3) NOT NULL,
    "removedAt" TIMESTAMPTZ(3) NOT NULL,
    "mac" BYTEA NOT NULL,

    CONSTRAINT "AuditCheckpoint_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "AuditCheckpoint_one_row" CHECK ("id" = 1)
);

-- The tables stay append-only, with one exception: links up to the checkpoint, and events with such a link, may be deleted.
-- The checkpoint only moves forward.
CREATE OR REPLACE FUNCTION "refuseChange"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' AND TG_TABLE_NAME = 'AuditSeal' THEN
    IF EXISTS (SELECT FROM "AuditCheckpoint" c WHERE c.sequence >= OLD.sequence) THEN
      RETURN OLD;
    END IF;
  ELSIF TG_OP = 'DELETE' AND TG_TABLE_NAME = 'AuditEvent' THEN
    IF EXISTS (
      SELECT FROM "AuditSeal" l, "AuditCheckpoint" c
      WHERE (l."accountId", l."occurredAt", l."eventId") = (OLD."accountId", OLD."occurredAt", OLD.id)
        AND c.sequence >= l.sequence
    ) THEN
      RETURN OLD;
    END IF;
  ELSIF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'AuditCheckpoint' THEN
    IF NEW.sequence > OLD.sequence THEN
      RETURN NEW;
    END IF;
  END IF;
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER "AuditCheckpoint_append_only" BEFORE UPDATE OR DELETE ON "AuditCheckpoint"
  FOR EACH ROW EXECUTE FUNCTION "refuseChange"();
CREATE TRIGGER "AuditCheckpoint_no_truncate" BEFORE TRUNCATE ON "AuditCheckpoint"
  FOR EACH STATEMENT EXECUTE FUNCTION "refuseChange"();
ALTER TABLE "AuditCheckpoint" ENABLE ALWAYS TRIGGER "AuditCheckpoint_append_only";
ALTER TABLE "AuditCheckpoint" ENABLE ALWAYS TRIGGER "AuditCheckpoint_no_truncate";
