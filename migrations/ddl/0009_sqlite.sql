-- How often an event was tried, and how often an operator has rerouted it. Earlier tries are in the
-- history. They are counted when a report asks for them, or when the event is tried again: counting
-- them for all events at once would lock all events.
-- Statements end with an empty line.

ALTER TABLE shipper_outbox ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;

ALTER TABLE shipper_outbox ADD COLUMN reroutes INTEGER NOT NULL DEFAULT 0;

-- How often an operator has asked the daemon to let go of claimed events of a destination, in order
-- to change them.
ALTER TABLE shipper_destination ADD COLUMN recalls INTEGER NOT NULL DEFAULT 0;

-- For how many seconds a daemon takes the lease at a time. It shows when the holder last prolonged
-- the lease.
ALTER TABLE shipper_lease ADD COLUMN ttl REAL;

-- An event's destination can change only if its number of reroutes grows, and no application writes
-- that number.
DROP TRIGGER shipper_outbox_immutable;

-- The id has four names, and SQLite finds a trigger by the name that a statement uses.
CREATE TRIGGER shipper_outbox_immutable
BEFORE UPDATE OF id, rowid, oid, _rowid_, payload, destination, ordering_key, event_id ON shipper_outbox
WHEN OLD.id IS NOT NEW.id OR OLD.payload IS NOT NEW.payload
  OR (coalesce(OLD.destination, '') <> '' AND OLD.destination IS NOT NEW.destination
    AND (NEW.reroutes <> OLD.reroutes + 1 OR NEW.status <> 'pending'
      OR OLD.status NOT IN ('pending', 'dead')))
  OR (coalesce(OLD.ordering_key, '') <> '' AND OLD.ordering_key IS NOT NEW.ordering_key)
  OR (coalesce(OLD.event_id, '') <> '' AND OLD.event_id IS NOT NEW.event_id)
BEGIN
  SELECT RAISE(ABORT, 'shipper_outbox: an event is never changed; write a new one');
END;
