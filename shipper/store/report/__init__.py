"""What is reported to people: status, events and why they wait, statistics. It changes no event."""
