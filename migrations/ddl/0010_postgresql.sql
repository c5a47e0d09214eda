-- Rows that every turn of the daemon writes anew leave a dead version each time, and while anybody
-- holds a snapshot (a dump, a report, a standby) none of them can go: to find such a row took longer
-- with each turn. So turns only add rows, and who looks for the last one finds it at the end of an
-- index. Statements end with an empty line.

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

-- What turns have counted, until it is added to the counters of the destinations.
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
