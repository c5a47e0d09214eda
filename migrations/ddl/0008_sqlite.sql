-- How the tries of a destination have failed since the last one that was accepted.
ALTER TABLE shipper_destination ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;

ALTER TABLE shipper_destination ADD COLUMN last_error TEXT;

ALTER TABLE shipper_destination ADD COLUMN failing_since TEXT;

-- What the last audit found broken: names of rules, separated by commas; empty where all held.
ALTER TABLE shipper_lease ADD COLUMN broken TEXT;

ALTER TABLE shipper_lease ADD COLUMN audited_at TEXT;
