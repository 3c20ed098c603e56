-- A checkpoint permits deletions only of events before its date, and its date must be 27 days ago by the clock of the database:
-- AUDIT_RETENTION_MONTHS keeps a whole month at least. So neither a replica whose clock is ahead nor a forged checkpoint, whose
-- MAC the database cannot judge, removes recent events.
CREATE OR REPLACE FUNCTION "refuseChange"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' AND TG_TABLE_NAME = 'AuditSeal' THEN
    IF EXISTS (
      SELECT FROM "AuditCheckpoint" c
      WHERE c.sequence >= OLD.sequence AND c."occurredBefore" > OLD."occurredAt"
    ) THEN
      RETURN OLD;
    END IF;
  ELSIF TG_OP = 'DELETE' AND TG_TABLE_NAME = 'AuditEvent' THEN
    IF EXISTS (
      SELECT FROM "AuditSeal" l, "AuditCheckpoint" c
      WHERE (l."accountId", l."occurredAt", l."eventId") = (OLD."accountId", OLD."occurredAt", OLD.id)
        AND c.sequence >= l.sequence AND c."occurredBefore" > OLD."occurredAt"
    ) THEN
      RETURN OLD;
    END IF;
  ELSIF TG_OP IN ('INSERT', 'UPDATE') AND TG_TABLE_NAME = 'AuditCheckpoint' THEN
    IF NEW."occurredBefore" > clock_timestamp() - interval '27 days' THEN
      RAISE EXCEPTION 'a checkpoint cannot cover recent events' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF TG_OP = 'INSERT' OR NEW.sequence > OLD.sequence THEN
      RETURN NEW;
    END IF;
  END IF;
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;

DROP TRIGGER "AuditCheckpoint_append_only" ON "AuditCheckpoint";
CREATE TRIGGER "AuditCheckpoint_append_only" BEFORE INSERT OR UPDATE OR DELETE ON "AuditCheckpoint"
  FOR EACH ROW EXECUTE FUNCTION "refuseChange"();
ALTER TABLE "AuditCheckpoint" ENABLE ALWAYS TRIGGER "AuditCheckpoint_append_only";
