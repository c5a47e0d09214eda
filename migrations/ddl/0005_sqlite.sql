-- Here ids are in the order of the commits; it is there so that both have the same columns.
ALTER TABLE shipper_lease ADD COLUMN settled INTEGER NOT NULL DEFAULT 0;
