-- What became of a destination's events in a minute: the statistics of a few days, for reports.
CREATE TABLE shipper_minute (
  minute TEXT NOT NULL,
  destination TEXT NOT NULL,
  delivered INTEGER NOT NULL DEFAULT 0 CHECK (delivered >= 0),
  retried INTEGER NOT NULL DEFAULT 0 CHECK (retried >= 0),
  dead INTEGER NOT NULL DEFAULT 0 CHECK (dead >= 0),
  latency_sum REAL NOT NULL DEFAULT 0,
  latency_max REAL NOT NULL DEFAULT 0,
  PRIMARY KEY (minute, destination)
);
