-- The outbox on SQLite. It uses only what SQLite 3.31 understands, because the application's
-- library reads it too. Statements end with an empty line. Times are TEXT,
-- 2026-11-23T08:15:00.123Z.

CREATE TABLE shipper_outbox (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT CHECK (id > 0),
  destination TEXT DEFAULT 'default',
  ordering_key TEXT,
  event_id TEXT DEFAULT (lower(
    hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-'
    || substr('89ab', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2) || '-'
    || hex(randomblob(6)))),
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  status TEXT NOT NULL DEFAULT 'pending'
    CHECK (status IN ('pending', 'delivered', 'dead', 'discarded')),
  attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
  next_attempt_at TEXT,
  delivered_at TEXT,
  last_status_code INTEGER,
  last_error TEXT,
  maybe_received INTEGER NOT NULL DEFAULT 0 CHECK (maybe_received IN (0, 1)),
  manual INTEGER NOT NULL DEFAULT 0 CHECK (manual IN (0, 1)),
  delivery_number INTEGER,
  -- Last, so that to read any other column of a large event doesn't walk through it.
  payload TEXT NOT NULL,
  CONSTRAINT shipper_outbox_event_id_key UNIQUE (event_id),
  CONSTRAINT shipper_outbox_delivered
    CHECK (status <> 'delivered' OR (delivered_at IS NOT NULL AND delivery_number IS NOT NULL))
);

CREATE INDEX shipper_outbox_pending ON shipper_outbox (destination, id)
  WHERE status = 'pending';

CREATE INDEX shipper_outbox_key
  ON shipper_outbox (destination, ordering_key, maybe_received DESC, id)
  WHERE status = 'pending';

CREATE INDEX shipper_outbox_maybe ON shipper_outbox (destination, id)
  WHERE status = 'pending' AND maybe_received = 1;

CREATE INDEX shipper_outbox_dead ON shipper_outbox (destination, id)
  WHERE status = 'dead';

-- One row: the id of the event that had the event_id of the row being inserted.
CREATE TABLE shipper_insert_guard (
  one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
  existing_id INTEGER
);

INSERT INTO shipper_insert_guard (one, existing_id) VALUES (1, NULL);

-- Triggers and not CHECKs, because INSERT OR IGNORE would skip the row without an error.
CREATE TRIGGER shipper_outbox_refuse BEFORE INSERT ON shipper_outbox
BEGIN
  SELECT CASE
    WHEN typeof(NEW.payload) <> 'text'
      THEN RAISE(ABORT, 'shipper_outbox.payload: must be a JSON text, not NULL and not a BLOB')
    WHEN instr(NEW.payload, char(0)) > 0
      THEN RAISE(ABORT, 'shipper_outbox.payload: has a raw NUL character; JSON has none')
    WHEN NOT json_valid(NEW.payload)
      THEN RAISE(ABORT, 'shipper_outbox.payload: is not valid JSON, or is nested too deep')
    WHEN NEW.event_id IS NOT NULL AND (
        typeof(NEW.event_id) <> 'text' OR length(NEW.event_id) > 255
        OR instr(NEW.event_id, char(0)) > 0
        OR NEW.event_id GLOB '*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159)
          || ']*')
      THEN RAISE(ABORT, 'shipper_outbox.event_id: must be a text of 1 to 255 characters, none of them a control character')
    WHEN NEW.ordering_key IS NOT NULL AND (
        typeof(NEW.ordering_key) <> 'text' OR length(NEW.ordering_key) > 255
        OR instr(NEW.ordering_key, char(0)) > 0)
      THEN RAISE(ABORT, 'shipper_outbox.ordering_key: must be a text of up to 255 characters without NUL')
    WHEN NEW.destination IS NOT NULL AND (
        typeof(NEW.destination) <> 'text' OR length(NEW.destination) > 255
        OR instr(NEW.destination, char(0)) > 0)
      THEN RAISE(ABORT, 'shipper_outbox.destination: must be a text of up to 255 characters without NUL')
    WHEN EXISTS (SELECT 1 FROM shipper_outbox WHERE id = NEW.id)
      THEN RAISE(ABORT, 'shipper_outbox.id: is given by the database; leave it out')
  END;
END;

-- An UPDATE, because the conflict policy of the outer statement would replace that of an INSERT OR
-- REPLACE here.
CREATE TRIGGER shipper_outbox_guard BEFORE INSERT ON shipper_outbox
WHEN (SELECT existing_id FROM shipper_insert_guard WHERE one = 1)
  IS NOT (SELECT id FROM shipper_outbox WHERE event_id = NEW.event_id)
BEGIN
  UPDATE shipper_insert_guard
    SET existing_id = (SELECT id FROM shipper_outbox WHERE event_id = NEW.event_id) WHERE one = 1;
END;

-- Between the two triggers, only REPLACE can have removed the row.
CREATE TRIGGER shipper_outbox_replaced AFTER INSERT ON shipper_outbox
WHEN (SELECT existing_id FROM shipper_insert_guard WHERE one = 1) IS NOT NULL
BEGIN
  SELECT RAISE(ABORT, 'shipper_outbox: event_id is there already; INSERT OR REPLACE would lose or resend it. Use ON CONFLICT (event_id) DO NOTHING')
  WHERE NOT EXISTS (SELECT 1 FROM shipper_outbox
    WHERE id = (SELECT existing_id FROM shipper_insert_guard WHERE one = 1));
END;

-- During a statement, sqlite_sequence still holds the last id from before the statement.
CREATE TRIGGER shipper_outbox_position AFTER INSERT ON shipper_outbox
WHEN NEW.id <= (SELECT seq FROM sqlite_sequence WHERE name = 'shipper_outbox')
BEGIN
  SELECT RAISE(ABORT, 'shipper_outbox.id: is given by the database and never used again; leave it out');
END;

CREATE TRIGGER shipper_outbox_default AFTER INSERT ON shipper_outbox
WHEN coalesce(NEW.destination, '') = '' OR coalesce(NEW.event_id, '') = ''
BEGIN
  UPDATE shipper_outbox SET
    destination = CASE coalesce(NEW.destination, '') WHEN '' THEN 'default' ELSE NEW.destination END,
    event_id = CASE coalesce(NEW.event_id, '') WHEN '' THEN lower(
      hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2)
      || '-' || substr('89ab', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2) || '-'
      || hex(randomblob(6))) ELSE NEW.event_id END
  WHERE id = NEW.id;
END;

-- If the key is left out, it is the id of the first user in the context, if that can be read. Each
-- json_each gets a value that it can read, or NULL, so it never raises an error. If a name occurs
-- twice, the last one counts, as in every other reader of JSON. SQLite would end the id at a NUL
-- escape, so the trigger replaces the escape by two lone surrogates. It doesn't use a key with a
-- lone surrogate, which isn't UTF-8: SQLite reads surrogates as U+FFFD, as it does the three
-- characters that the trigger removes first.
CREATE TRIGGER shipper_outbox_derive AFTER INSERT ON shipper_outbox
WHEN coalesce(NEW.ordering_key, '') = ''
BEGIN
  UPDATE shipper_outbox SET ordering_key = (
    SELECT CASE
      WHEN i.type = 'integer' AND typeof(i.value) = 'integer'
        AND i.value BETWEEN -999999999999999999 AND 999999999999999999 THEN CAST(i.value AS TEXT)
      WHEN i.type = 'text' AND i.value <> ''
        AND NOT replace(replace(replace(i.value, char(65533), ''), char(65534), ''), char(65535), '')
          GLOB '*' || char(65533) || '*' THEN i.value
      END
    FROM json_each((
      SELECT CASE u.type WHEN 'object' THEN u.value END
      FROM json_each((
        SELECT e.value
        FROM json_each((
          SELECT CASE c.type WHEN 'array' THEN c.value END
          FROM json_each(CASE WHEN instr(NEW.payload, '\u0000') = 0 THEN NEW.payload ELSE
            replace(replace(replace(NEW.payload, '\\', char(1)), '\u0000', '\udc00\udc00'),
              char(1), '\\') END) AS c
          WHERE c.key = 'context' ORDER BY c.id DESC LIMIT 1)) AS e
        WHERE e.type = 'object' AND (
          SELECT CASE t.type WHEN 'text' THEN t.value END FROM json_each(e.value) AS t
          WHERE t.key = 'type' ORDER BY t.id DESC LIMIT 1) = 'user'
        ORDER BY e.id LIMIT 1)) AS u
      WHERE u.key = 'user' ORDER BY u.id DESC LIMIT 1)) AS i
    WHERE i.key = 'id' ORDER BY i.id DESC LIMIT 1)
  WHERE id = NEW.id;
END;

CREATE TRIGGER shipper_outbox_immutable
BEFORE UPDATE OF id, payload, destination, ordering_key, event_id ON shipper_outbox
WHEN OLD.id IS NOT NEW.id OR OLD.payload IS NOT NEW.payload
  OR (coalesce(OLD.destination, '') <> '' AND OLD.destination IS NOT NEW.destination)
  OR (coalesce(OLD.ordering_key, '') <> '' AND OLD.ordering_key IS NOT NEW.ordering_key)
  OR (coalesce(OLD.event_id, '') <> '' AND OLD.event_id IS NOT NEW.event_id)
BEGIN
  SELECT RAISE(ABORT, 'shipper_outbox: an event is never changed; write a new one');
END;

CREATE TABLE shipper_attempt (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  outbox_id INTEGER NOT NULL,
  event_id TEXT NOT NULL,
  started_at TEXT NOT NULL,
  duration_ms INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  status_code INTEGER,
  error TEXT,
  response_excerpt TEXT,
  manual INTEGER NOT NULL DEFAULT 0 CHECK (manual IN (0, 1))
);

CREATE INDEX shipper_attempt_outbox ON shipper_attempt (outbox_id, id);

-- The ids of claimed events: on disk before the first byte of an event leaves.
CREATE TABLE shipper_claim (
  number INTEGER NOT NULL PRIMARY KEY,
  ids TEXT NOT NULL
);

CREATE TABLE shipper_destination (
  name TEXT NOT NULL PRIMARY KEY,
  state TEXT NOT NULL DEFAULT 'ready',
  reason TEXT,
  since TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  next_try_at TEXT,
  held INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1)),
  delivered INTEGER NOT NULL DEFAULT 0 CHECK (delivered >= 0),
  dead INTEGER NOT NULL DEFAULT 0 CHECK (dead >= 0),
  discarded INTEGER NOT NULL DEFAULT 0 CHECK (discarded >= 0),
  purged INTEGER NOT NULL DEFAULT 0 CHECK (purged >= 0),
  updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

CREATE TABLE shipper_hold (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  destination TEXT NOT NULL,
  ordering_key TEXT NOT NULL,
  cause TEXT NOT NULL CHECK (cause IN ('operator', 'dead_letter')),
  event_id TEXT,
  since TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

CREATE UNIQUE INDEX shipper_hold_exact ON shipper_hold (destination, ordering_key);

CREATE TABLE shipper_lease (
  name TEXT NOT NULL PRIMARY KEY,
  token INTEGER NOT NULL DEFAULT 0,
  owner TEXT,
  acquired_at TEXT,
  expires_at TEXT,
  turn INTEGER NOT NULL DEFAULT 0,
  claim INTEGER NOT NULL DEFAULT 0,
  delivery INTEGER NOT NULL DEFAULT 0,
  generation INTEGER NOT NULL DEFAULT 0
);

INSERT INTO shipper_lease (name) VALUES ('outbox');
