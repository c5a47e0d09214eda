"""What people are told: status, events and why they wait, statistics. Reads only."""
