-- How often an event was tried, and how often an operator has rerouted it. Earlier tries are in the
-- history. They are counted when a report asks for them, or when the event is tried again: counting
-- them for all events at once would lock all events.
-- Statements end with an empty line.

ALTER TABLE shipper_outbox ADD COLUMN tries integer NOT NULL DEFAULT 0,
  ADD COLUMN reroutes integer NOT NULL DEFAULT 0;

-- How often an operator has asked the daemon to let go of claimed events of a destination, in order
-- to change them.
ALTER TABLE shipper_destination ADD COLUMN recalls bigint NOT NULL DEFAULT 0;

-- For how many seconds a daemon takes the lease at a time. It shows when the holder last prolonged
-- the lease.
ALTER TABLE shipper_lease ADD COLUMN ttl double precision;

-- An event's destination can change only if its number of reroutes grows, and no application writes
-- that number.
DROP TRIGGER shipper_outbox_immutable ON shipper_outbox;

CREATE TRIGGER shipper_outbox_immutable
  BEFORE UPDATE OF id, payload, destination, ordering_key, event_id ON shipper_outbox
  FOR EACH ROW WHEN (OLD.id <> NEW.id OR OLD.payload::text IS DISTINCT FROM NEW.payload::text
    OR (OLD.destination IS DISTINCT FROM NEW.destination
      AND (NEW.reroutes <> OLD.reroutes + 1 OR NEW.status <> 'pending'
        OR OLD.status NOT IN ('pending', 'dead')))
    OR OLD.ordering_key IS DISTINCT FROM NEW.ordering_key
    OR OLD.event_id IS DISTINCT FROM NEW.event_id)
  EXECUTE FUNCTION shipper_outbox_immutable();
