"""The outbox in its database. Every SQL statement that shipper runs is in this package."""
