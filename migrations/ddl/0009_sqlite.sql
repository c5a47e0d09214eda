-- How often an event was tried, and how often an operator has sent it to another destination.
-- Statements end with an empty line.

ALTER TABLE shipper_outbox ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;

ALTER TABLE shipper_outbox ADD COLUMN reroutes INTEGER NOT NULL DEFAULT 0;

-- What was tried before is known from the history, where that has anything.
UPDATE shipper_outbox
  SET tries = (SELECT count(*) FROM shipper_attempt WHERE outbox_id = shipper_outbox.id)
  WHERE id IN (SELECT outbox_id FROM shipper_attempt);

-- Who lets go of what is claimed for a destination, because an operator sends it elsewhere.
ALTER TABLE shipper_destination ADD COLUMN recalls INTEGER NOT NULL DEFAULT 0;

-- For how many seconds the lease is taken at a time: from it follows when its holder was last seen.
ALTER TABLE shipper_lease ADD COLUMN ttl REAL;

-- A destination changes only together with the count of that, which no application writes.
DROP TRIGGER shipper_outbox_immutable;

-- The id has four names, and a trigger is looked up by the one that a statement uses.
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
