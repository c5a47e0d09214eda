-- Not used on SQLite, where ids are in the order of commits. The column exists so that both
-- databases have the same columns.
ALTER TABLE shipper_lease ADD COLUMN settled INTEGER NOT NULL DEFAULT 0;
