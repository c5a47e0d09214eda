-- How often an operator has let a destination go on: a daemon that sees it grow probes the link.
ALTER TABLE shipper_destination ADD COLUMN releases bigint NOT NULL DEFAULT 0;
