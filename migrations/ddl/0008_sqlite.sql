-- The failed tries of a destination since its last accepted one: how many, the last error, and
-- since when.
ALTER TABLE shipper_destination ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;

ALTER TABLE shipper_destination ADD COLUMN last_error TEXT;

ALTER TABLE shipper_destination ADD COLUMN failing_since TEXT;

-- The rules that the last audit found broken: their names, separated by commas; empty if every rule
-- held.
ALTER TABLE shipper_lease ADD COLUMN broken TEXT;

ALTER TABLE shipper_lease ADD COLUMN audited_at TEXT;
