"""What a person hands in: documents, filters, durations."""
