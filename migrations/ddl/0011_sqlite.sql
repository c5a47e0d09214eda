-- The lanes that operators' latest commands have touched, by the generation that each command
-- began. A daemon that notices a command looks at these lanes again. An event without a key is a
-- lane of its own; for other events `outbox_id` only keeps the rows apart.
CREATE TABLE shipper_touched (
  generation INTEGER NOT NULL,
  destination TEXT NOT NULL,
  outbox_id INTEGER NOT NULL,
  ordering_key TEXT,
  PRIMARY KEY (generation, destination, outbox_id)
);
