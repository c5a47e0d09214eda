-- How retention finds what is over: along an index, whatever is pending or dead beside it.
-- Statements end with an empty line. They may be there already: see `shipper.store.schema.indexes`.

CREATE INDEX IF NOT EXISTS shipper_outbox_delivered ON shipper_outbox (delivered_at)
  WHERE status = 'delivered';

CREATE INDEX IF NOT EXISTS shipper_outbox_discarded ON shipper_outbox (destination, id)
  WHERE status = 'discarded';

-- Rows of claims live for one turn: vacuumed by their number and not by a share of the table.
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

-- One row that every turn of the daemon writes anew.
ALTER TABLE shipper_lease SET (
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 500
);
