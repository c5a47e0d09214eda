-- The indexes by which retention finds old events, however many events are pending or dead.
-- Statements end with an empty line. The indexes can exist already: see
-- `shipper.store.schema.indexes`.

CREATE INDEX IF NOT EXISTS shipper_outbox_delivered ON shipper_outbox (delivered_at)
  WHERE status = 'delivered';

CREATE INDEX IF NOT EXISTS shipper_outbox_discarded ON shipper_outbox (destination, id)
  WHERE status = 'discarded';

-- A row of a claim lives for one turn. So the number of dead rows decides when to vacuum, and not
-- their share of the table.
ALTER TABLE shipper_claim SET (
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 1000,
  autovacuum_vacuum_cost_delay = 0
);

ALTER TABLE shipper_attempt SET (
  autovacuum_vacuum_scale_factor = 0.02,
  autovacuum_vacuum_threshold = 1000,
  autovacuum_vacuum_cost_delay = 0
);

-- One row, which every turn of the daemon updates.
ALTER TABLE shipper_lease SET (
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 500
);
