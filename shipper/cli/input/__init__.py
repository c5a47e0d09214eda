"""What a command reads: arguments, filters, confirmations, files with events."""
