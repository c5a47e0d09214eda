-- What became of a destination's events in a minute: the statistics of a few days, for reports.
CREATE TABLE shipper_minute (
  minute timestamptz NOT NULL,
  destination text NOT NULL,
  delivered bigint NOT NULL DEFAULT 0 CHECK (delivered >= 0),
  retried bigint NOT NULL DEFAULT 0 CHECK (retried >= 0),
  dead bigint NOT NULL DEFAULT 0 CHECK (dead >= 0),
  latency_sum double precision NOT NULL DEFAULT 0,
  latency_max double precision NOT NULL DEFAULT 0,
  PRIMARY KEY (minute, destination)
);
