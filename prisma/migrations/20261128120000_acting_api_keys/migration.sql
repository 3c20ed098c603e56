-- Judges the API key behind an act in the write of its audit event, and holds the key until the transaction ends. The key may
-- have been revoked, or may have expired, since the request began. SQLSTATE TS401: it may not act any more; TS403: it lacks a
-- scope that it had.
CREATE FUNCTION "holdActingKey"(account UUID, key TEXT, needed TEXT[], at TIMESTAMPTZ) RETURNS UUID LANGUAGE plpgsql AS $$
DECLARE
  held "ApiKey"%ROWTYPE;
BEGIN
  SELECT * INTO held FROM "ApiKey" k WHERE k."accountId" = account AND k.id = key FOR KEY SHARE;
  IF NOT FOUND OR held."expiresAt" <= at THEN
    RAISE EXCEPTION 'the API key may not act any more' USING ERRCODE = 'TS401';
  END IF;
  IF NOT held.scopes @> needed THEN
    RAISE EXCEPTION 'the API key lacks a scope that it had' USING ERRCODE = 'TS403';
  END IF;
  RETURN account;
END $$;
