-- How the tries of a destination have failed since the last one that was accepted.
ALTER TABLE shipper_destination
    ADD COLUMN failures bigint NOT NULL DEFAULT 0,
    ADD COLUMN last_error text,
    ADD COLUMN failing_since timestamptz;

-- What the last audit found broken: names of rules, separated by commas; empty where all held.
ALTER TABLE shipper_lease
    ADD COLUMN broken text,
    ADD COLUMN audited_at timestamptz;
