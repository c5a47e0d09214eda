-- How often an event was tried, and how often an operator has sent it to another destination. What
-- was tried before is in the history; it is counted where somebody asks, or tries again, because to
-- count it for all events at once would lock them all.
-- Statements end with an empty line.

ALTER TABLE shipper_outbox ADD COLUMN tries integer NOT NULL DEFAULT 0,
  ADD COLUMN reroutes integer NOT NULL DEFAULT 0;

-- Who lets go of what is claimed for a destination, because an operator sends it elsewhere.
ALTER TABLE shipper_destination ADD COLUMN recalls bigint NOT NULL DEFAULT 0;

-- For how many seconds the lease is taken at a time: from it follows when its holder was last seen.
ALTER TABLE shipper_lease ADD COLUMN ttl double precision;

-- A destination changes only together with the count of that, which no application writes.
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
