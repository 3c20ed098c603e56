-- AlterTable
ALTER TABLE "ApiKey" ADD COLUMN "createdByKind" TEXT,
ADD COLUMN "createdById" TEXT,
ADD COLUMN "makers" TEXT[] DEFAULT ARRAY[]::TEXT[];

-- Existing keys keep what they can do: `policy:write` included single sign-on, and `users:write` included admins. A key with
-- every scope of the previous release keeps every scope.
CREATE FUNCTION "scopesOfPreviousRelease"(scopes TEXT[]) RETURNS TEXT[] LANGUAGE sql IMMUTABLE AS $$
  SELECT scopes
    || CASE WHEN scopes @> ARRAY['policy:write'] AND NOT scopes @> ARRAY['sso:write']
      THEN ARRAY['sso:write'] ELSE ARRAY[]::TEXT[] END
    || CASE WHEN scopes @> ARRAY['users:write'] AND NOT scopes @> ARRAY['admins:write']
      THEN ARRAY['admins:write'] ELSE ARRAY[]::TEXT[] END
    || CASE WHEN scopes @> ARRAY['users:read', 'users:write', 'users:reset', 'login:assert', 'login:assert-sso',
        'policy:read', 'policy:write', 'audit:read', 'introspect', 'keys:write']
        AND NOT scopes @> ARRAY['webhooks:write']
      THEN ARRAY['webhooks:write'] ELSE ARRAY[]::TEXT[] END
$$;
UPDATE "ApiKey" SET "scopes" = "scopesOfPreviousRelease"("scopes");

-- The audit trail knows who created each key, also if the creator was revoked since.
WITH RECURSIVE creations AS (
  SELECT "accountId", "targetId" AS id, "actorKind", "actorId" FROM "AuditEvent"
  WHERE "type" = 'api_key.create' AND "outcome" = 'succeeded'
  UNION ALL
  SELECT "accountId", "details"->>'apiKey', "actorKind", "actorId" FROM "AuditEvent"
  WHERE "type" = 'account.create' AND "outcome" = 'succeeded'
), lines AS (
  SELECT k."accountId", k."id" AS key, 0 AS generation, c."actorKind", c."actorId"
  FROM "ApiKey" k JOIN creations c ON c."accountId" = k."accountId" AND c.id = k."id"
  UNION
  SELECT l."accountId", l.key, l.generation + 1, c."actorKind", c."actorId"
  FROM lines l JOIN creations c ON c."accountId" = l."accountId" AND c.id = l."actorId"
  WHERE l."actorKind" = 'api_key' AND l.generation < 1000
), makers AS (
  SELECT "accountId", key,
    min("actorKind") FILTER (WHERE generation = 0) AS "actorKind",
    min("actorId") FILTER (WHERE generation = 0) AS "actorId",
    coalesce(array_agg("actorId" ORDER BY generation DESC) FILTER (WHERE "actorKind" = 'api_key'),
      ARRAY[]::TEXT[]) AS ids
  FROM lines GROUP BY "accountId", key
)
UPDATE "ApiKey" k SET "createdByKind" = m."actorKind", "createdById" = m."actorId", "makers" = m.ids
FROM makers m WHERE m."accountId" = k."accountId" AND m.key = k."id";

-- Replicas of the previous release create keys during the deploy. They do not name the creator, and mean the old scopes. The
-- next release drops the trigger and both functions.
CREATE FUNCTION "keepScopesOfPreviousRelease"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW."scopes" := "scopesOfPreviousRelease"(NEW."scopes");
  RETURN NEW;
END $$;
CREATE TRIGGER "ApiKey_scopes_of_previous_release" BEFORE INSERT ON "ApiKey"
  FOR EACH ROW WHEN (NEW."createdByKind" IS NULL) EXECUTE FUNCTION "keepScopesOfPreviousRelease"();
