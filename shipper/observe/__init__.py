"""Judge an outbox and its daemon, and report the result: troubles, alarms, alerts, metrics."""
