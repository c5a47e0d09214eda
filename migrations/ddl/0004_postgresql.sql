-- How often an operator has released a destination. When the number grows, the daemon probes the
-- link.
ALTER TABLE shipper_destination ADD COLUMN releases bigint NOT NULL DEFAULT 0;
