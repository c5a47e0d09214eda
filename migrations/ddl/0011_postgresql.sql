-- Which lanes the last commands of operators have touched, by the generation that each moved: a
-- daemon that notices one looks at these anew. Without a key an event is a lane of its own; with one
-- `outbox_id` only tells the rows apart.
CREATE TABLE shipper_touched (
  generation bigint NOT NULL,
  destination text NOT NULL,
  outbox_id bigint NOT NULL,
  ordering_key text,
  PRIMARY KEY (generation, destination, outbox_id)
);
