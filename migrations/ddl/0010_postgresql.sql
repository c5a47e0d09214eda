-- A row that every turn updates leaves a dead version each time. While any session holds a snapshot
-- (a dump, a report, a standby), vacuum can't remove these versions, and finding the row takes
-- longer with each turn. So a turn only adds rows, and the last turn is at the end of an index.
-- Statements end with an empty line.

CREATE TABLE shipper_turn (
  turn bigint PRIMARY KEY,
  token bigint NOT NULL,
  claim bigint NOT NULL DEFAULT 0,
  delivery bigint NOT NULL DEFAULT 0,
  settled bigint NOT NULL DEFAULT 0,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 1000,
  autovacuum_vacuum_cost_delay = 0
);

-- What turns have counted, until the daemon adds it to the counters of the destinations.
CREATE TABLE shipper_count (
  turn bigint NOT NULL,
  name text NOT NULL,
  delivered bigint NOT NULL,
  dead bigint NOT NULL,
  PRIMARY KEY (turn, name)
) WITH (
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 1000,
  autovacuum_vacuum_cost_delay = 0
);

WITH last_turn AS (SELECT * FROM shipper_lease WHERE name = 'outbox')
INSERT INTO shipper_turn (turn, token, claim, delivery, settled)
  SELECT turn, token, claim, delivery, settled FROM last_turn;

ALTER TABLE shipper_lease
  DROP COLUMN turn,
  DROP COLUMN claim,
  DROP COLUMN delivery,
  DROP COLUMN settled;
