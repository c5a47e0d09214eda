-- Up to which id the order of commits is known: a daemon that starts needn't wait for the
-- transactions that are open then.
ALTER TABLE shipper_lease ADD COLUMN settled bigint NOT NULL DEFAULT 0;
