-- The failed tries of a destination since its last accepted one: how many, the last error, and
-- since when.
ALTER TABLE shipper_destination
    ADD COLUMN failures bigint NOT NULL DEFAULT 0,
    ADD COLUMN last_error text,
    ADD COLUMN failing_since timestamptz;

-- The rules that the last audit found broken: their names, separated by commas; empty if every rule
-- held.
ALTER TABLE shipper_lease
    ADD COLUMN broken text,
    ADD COLUMN audited_at timestamptz;
