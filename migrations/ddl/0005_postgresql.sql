-- Up to which id the order of commits is known: who begins anew need not wait for what runs by then.
ALTER TABLE shipper_lease ADD COLUMN settled bigint NOT NULL DEFAULT 0;
