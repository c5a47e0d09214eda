"""What people and programs read about an outbox. It writes only reports, and changes no event."""
