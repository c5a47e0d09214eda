"""How an outbox is brought to this version, and repaired: what `shipper db upgrade` does."""
