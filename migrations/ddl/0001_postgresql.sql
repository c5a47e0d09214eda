-- The outbox on PostgreSQL, in the first schema on the search_path. Statements end with an empty
-- line.

-- `tx` stands before `id`, because defaults are evaluated in the order of the columns: a
-- transaction that has taken a number from the sequence has a transaction id already, and every
-- snapshot shows it as running. The type is json and not jsonb, because the bytes must stay as they
-- were written.
CREATE TABLE shipper_outbox (
  tx xid8 NOT NULL DEFAULT pg_current_xact_id(),
  id bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
  destination text DEFAULT 'default',
  ordering_key text,
  event_id text DEFAULT gen_random_uuid()::text CONSTRAINT shipper_outbox_event_id_key UNIQUE,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  status text NOT NULL DEFAULT 'pending'
    CHECK (status IN ('pending', 'delivered', 'dead', 'discarded')),
  attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
  next_attempt_at timestamptz,
  delivered_at timestamptz,
  last_status_code integer,
  last_error text,
  maybe_received smallint NOT NULL DEFAULT 0 CHECK (maybe_received IN (0, 1)),
  manual smallint NOT NULL DEFAULT 0 CHECK (manual IN (0, 1)),
  delivery_number bigint,
  lane bigint,
  slot smallint NOT NULL CHECK (slot BETWEEN 0 AND 255),
  payload json NOT NULL,
  CONSTRAINT shipper_outbox_delivered
    CHECK (status <> 'delivered' OR (delivered_at IS NOT NULL AND delivery_number IS NOT NULL)),
  CONSTRAINT shipper_outbox_lane_of_key CHECK ((lane IS NULL) = (ordering_key IS NULL))
) WITH (
  fillfactor = 70,
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 1000,
  autovacuum_analyze_scale_factor = 0.02,
  autovacuum_vacuum_cost_delay = 0
);

CREATE INDEX shipper_outbox_pending ON shipper_outbox (destination, id)
  WHERE status = 'pending';

CREATE INDEX shipper_outbox_lane ON shipper_outbox (lane, maybe_received DESC, id)
  WHERE status = 'pending';

CREATE INDEX shipper_outbox_maybe ON shipper_outbox (destination, id)
  WHERE status = 'pending' AND maybe_received = 1;

CREATE INDEX shipper_outbox_dead ON shipper_outbox (destination, id)
  WHERE status = 'dead';

-- One function and no table, so that an application needs a right on its columns only. If the key
-- is left out, it is the id of the first user in the context. PostgreSQL can't read a json that
-- contains a NUL escape or a lone surrogate. So the function replaces these by a mark that the text
-- can't contain otherwise, and doesn't use an id that contains the mark.
CREATE FUNCTION shipper_outbox_write() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  doc json := NEW.payload;
  body text;
  mark text;
  key text;
BEGIN
  IF NEW.event_id ~ '[\x01-\x1f\x7f-\x9f]' OR char_length(NEW.event_id) > 255 THEN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = 'shipper_outbox.event_id: must be a text of 1 to 255 characters, none of them a control character';
  ELSIF char_length(NEW.ordering_key) > 255 THEN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = 'shipper_outbox.ordering_key: must be a text of up to 255 characters without NUL';
  ELSIF char_length(NEW.destination) > 255 THEN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = 'shipper_outbox.destination: must be a text of up to 255 characters without NUL';
  END IF;
  NEW.destination := coalesce(nullif(NEW.destination, ''), 'default');
  NEW.event_id := coalesce(nullif(NEW.event_id, ''), gen_random_uuid()::text);
  NEW.ordering_key := nullif(NEW.ordering_key, '');
  IF NEW.ordering_key IS NULL THEN
    BEGIN
      body := NEW.payload::text;
      IF body ~ '\\u(0000|[dD][89a-fA-F])' THEN
        mark := md5(body);
        body := regexp_replace(body, '(\\[^u]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(\\u0000|\\u[dD][89a-fA-F][0-9a-fA-F]{2})', E'\\1\x01\\2\x02', 'g');
        body := replace(regexp_replace(body, E'\x01\\\\u....\x02', mark, 'g'), E'\x01\x02', '');
        doc := body::json;
      END IF;
      doc := doc -> 'context';
      IF json_typeof(doc) = 'array' THEN
        SELECT entry -> 'user' -> 'id' INTO doc FROM json_array_elements(doc) AS entry
          WHERE json_typeof(entry) = 'object' AND json_typeof(entry -> 'type') = 'string'
            AND entry ->> 'type' = 'user' LIMIT 1;
        key := doc #>> '{}';
        IF json_typeof(doc) = 'string' AND strpos(key, coalesce(mark, key || '.')) = 0 THEN
          NEW.ordering_key := nullif(key, '');
        ELSIF json_typeof(doc) = 'number' AND key ~ '^-?[0-9]{1,18}$' THEN
          NEW.ordering_key := key::bigint::text;
        END IF;
      END IF;
    EXCEPTION WHEN OTHERS THEN
      NEW.ordering_key := NULL;
    END;
  END IF;
  NEW.lane := hashtextextended((NEW.destination || chr(31) || NEW.ordering_key) COLLATE "C", 0);
  NEW.slot := coalesce(NEW.lane, hashtextextended(NEW.event_id COLLATE "C", 0)) & 255;
  RETURN NEW;
END
$$;

CREATE TRIGGER shipper_outbox_write BEFORE INSERT ON shipper_outbox
  FOR EACH ROW EXECUTE FUNCTION shipper_outbox_write();

CREATE FUNCTION shipper_outbox_immutable() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = 'shipper_outbox: an event is never changed; write a new one';
END
$$;

CREATE TRIGGER shipper_outbox_immutable
  BEFORE UPDATE OF id, payload, destination, ordering_key, event_id ON shipper_outbox
  FOR EACH ROW WHEN (OLD.id <> NEW.id OR OLD.payload::text IS DISTINCT FROM NEW.payload::text
    OR OLD.destination IS DISTINCT FROM NEW.destination
    OR OLD.ordering_key IS DISTINCT FROM NEW.ordering_key
    OR OLD.event_id IS DISTINCT FROM NEW.event_id)
  EXECUTE FUNCTION shipper_outbox_immutable();

CREATE TABLE shipper_attempt (
  id bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
  outbox_id bigint NOT NULL,
  event_id text NOT NULL,
  started_at timestamptz NOT NULL,
  duration_ms integer NOT NULL,
  outcome text NOT NULL,
  status_code integer,
  error text,
  response_excerpt text,
  manual smallint NOT NULL DEFAULT 0 CHECK (manual IN (0, 1))
);

CREATE INDEX shipper_attempt_outbox ON shipper_attempt (outbox_id, id);

-- The ids of claimed events: on disk before the first byte of an event leaves.
CREATE TABLE shipper_claim (
  number bigint PRIMARY KEY,
  ids text NOT NULL
);

CREATE TABLE shipper_destination (
  name text PRIMARY KEY,
  state text NOT NULL DEFAULT 'ready',
  reason text,
  since timestamptz NOT NULL DEFAULT clock_timestamp(),
  next_try_at timestamptz,
  held smallint NOT NULL DEFAULT 0 CHECK (held IN (0, 1)),
  delivered bigint NOT NULL DEFAULT 0 CHECK (delivered >= 0),
  dead bigint NOT NULL DEFAULT 0 CHECK (dead >= 0),
  discarded bigint NOT NULL DEFAULT 0 CHECK (discarded >= 0),
  purged bigint NOT NULL DEFAULT 0 CHECK (purged >= 0),
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

CREATE TABLE shipper_hold (
  id bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
  destination text NOT NULL,
  ordering_key text NOT NULL,
  cause text NOT NULL CHECK (cause IN ('operator', 'dead_letter')),
  event_id text,
  since timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The index is on the key's hash, because an index entry has a greatest size and a derived key has
-- none.
CREATE UNIQUE INDEX shipper_hold_key ON shipper_hold (destination, md5(ordering_key));

CREATE TABLE shipper_lease (
  name text PRIMARY KEY,
  token bigint NOT NULL DEFAULT 0,
  owner text,
  acquired_at timestamptz,
  expires_at timestamptz,
  turn bigint NOT NULL DEFAULT 0,
  claim bigint NOT NULL DEFAULT 0,
  delivery bigint NOT NULL DEFAULT 0,
  generation bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

INSERT INTO shipper_lease (name) VALUES ('outbox');
