-- The indexes by which retention finds old events, however many events are pending or dead.
-- Statements end with an empty line.

CREATE INDEX shipper_outbox_delivered ON shipper_outbox (delivered_at)
  WHERE status = 'delivered';

CREATE INDEX shipper_outbox_discarded ON shipper_outbox (destination, id)
  WHERE status = 'discarded';
