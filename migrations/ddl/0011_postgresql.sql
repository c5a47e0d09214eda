-- The lanes that operators' latest commands have touched, by the generation that each command
-- began. A daemon that notices a command looks at these lanes again. An event without a key is a
-- lane of its own; for other events `outbox_id` only keeps the rows apart.
CREATE TABLE shipper_touched (
  generation bigint NOT NULL,
  destination text NOT NULL,
  outbox_id bigint NOT NULL,
  ordering_key text,
  PRIMARY KEY (generation, destination, outbox_id)
);
