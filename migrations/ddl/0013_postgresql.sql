-- Several daemons share the outbox. Each has a row here, which each of its turns locks; a token is
-- never used again, and without its row a daemon can write nothing. Statements end with an empty line.

CREATE TABLE shipper_daemon (
  token bigint PRIMARY KEY,
  name text NOT NULL,
  owner text,
  ttl double precision NOT NULL,
  since timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at timestamptz NOT NULL,
  settings text
) WITH (
  fillfactor = 50,
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 100,
  autovacuum_vacuum_cost_delay = 0
);

-- A daemon that others have ended, until one of its name is back.
CREATE TABLE shipper_gone (
  token bigint PRIMARY KEY,
  name text NOT NULL,
  owner text,
  ttl double precision NOT NULL,
  since timestamptz NOT NULL,
  expires_at timestamptz NOT NULL
);

-- A shard is a quarter of the slots of the events (slot & 63); a daemon sends the events of its shards.
CREATE TABLE shipper_shard (
  shard smallint PRIMARY KEY CHECK (shard BETWEEN 0 AND 63),
  token bigint
) WITH (fillfactor = 50);

INSERT INTO shipper_shard (shard) SELECT generate_series(0, 63);

-- A destination as one daemon sees it; what shipper_destination says is left by daemons that ended.
CREATE TABLE shipper_link (
  token bigint NOT NULL,
  name text NOT NULL,
  state text NOT NULL,
  reason text,
  since timestamptz NOT NULL,
  next_try_at timestamptz,
  updated_at timestamptz NOT NULL,
  failures bigint NOT NULL DEFAULT 0,
  last_error text,
  failing_since timestamptz,
  PRIMARY KEY (token, name)
) WITH (fillfactor = 50);

-- How often daemons have come or gone, or shards have changed hands.
ALTER TABLE shipper_lease ADD COLUMN epoch bigint NOT NULL DEFAULT 0;

-- A daemon takes this many delivery numbers at a time, and others whenever it gets a shard: within a
-- key they increase, whichever daemons record them.
CREATE SEQUENCE shipper_delivery INCREMENT BY 4096 MINVALUE 1 CACHE 1;

SELECT setval('shipper_delivery', greatest(1, (SELECT coalesce(max(delivery), 0) FROM shipper_turn) + 1), false);

-- A daemon of the version before that has died is taken over like any other.
INSERT INTO shipper_daemon (token, name, owner, ttl, since, expires_at)
  SELECT token, 'before', owner, coalesce(ttl, 60), coalesce(acquired_at, clock_timestamp()),
    coalesce(expires_at, clock_timestamp())
  FROM shipper_lease WHERE name = 'outbox' AND (owner IS NOT NULL OR EXISTS (SELECT 1 FROM shipper_claim));

UPDATE shipper_lease SET owner = NULL, acquired_at = NULL, expires_at = NULL, ttl = NULL WHERE name = 'outbox';

INSERT INTO shipper_destination (name, delivered, dead)
  SELECT name, sum(delivered), sum(dead) FROM shipper_count GROUP BY name ORDER BY name
  ON CONFLICT (name) DO UPDATE SET delivered = shipper_destination.delivered + excluded.delivered,
  dead = shipper_destination.dead + excluded.dead;

DELETE FROM shipper_count;

ALTER TABLE shipper_count
  ADD COLUMN token bigint NOT NULL,
  DROP CONSTRAINT shipper_count_pkey,
  ADD PRIMARY KEY (token, turn, name);

ALTER TABLE shipper_claim
  ADD COLUMN token bigint NOT NULL DEFAULT 0,
  DROP CONSTRAINT shipper_claim_pkey,
  ADD PRIMARY KEY (token, number);

UPDATE shipper_claim SET token = (SELECT token FROM shipper_lease WHERE name = 'outbox');

-- The row of token 0 is what daemons that ended have left: up to which id the order is settled.
DELETE FROM shipper_turn WHERE turn < (SELECT max(turn) FROM shipper_turn);

UPDATE shipper_turn SET token = 0, turn = 0, claim = 0;

ALTER TABLE shipper_turn
  DROP CONSTRAINT shipper_turn_pkey,
  ADD PRIMARY KEY (token, turn);
