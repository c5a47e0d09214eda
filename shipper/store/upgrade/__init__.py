"""How an outbox is brought to this version, and mended: what `shipper db upgrade` does."""
