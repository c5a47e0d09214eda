-- Only the database gives ids. If an application wrote the greatest number as an id, no number
-- would be left for the next event, and SQLite would report a full disk. Statements end with an
-- empty line.

DROP TRIGGER shipper_outbox_refuse;

-- In a BEFORE INSERT trigger, NEW.id is -1 if the id is left out or NULL (sqlite3's insert.c, in
-- every version). CHECK (id > 0) refuses a -1 that an application wrote.
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
    WHEN NEW.id <> -1
      THEN RAISE(ABORT, 'shipper_outbox.id: is given by the database; leave it out')
  END;
END;

DROP TRIGGER shipper_outbox_immutable;

-- The id has four names, and SQLite finds a trigger by the name that a statement uses.
CREATE TRIGGER shipper_outbox_immutable
BEFORE UPDATE OF id, rowid, oid, _rowid_, payload, destination, ordering_key, event_id ON shipper_outbox
WHEN OLD.id IS NOT NEW.id OR OLD.payload IS NOT NEW.payload
  OR (coalesce(OLD.destination, '') <> '' AND OLD.destination IS NOT NEW.destination)
  OR (coalesce(OLD.ordering_key, '') <> '' AND OLD.ordering_key IS NOT NEW.ordering_key)
  OR (coalesce(OLD.event_id, '') <> '' AND OLD.event_id IS NOT NEW.event_id)
BEGIN
  SELECT RAISE(ABORT, 'shipper_outbox: an event is never changed; write a new one');
END;
