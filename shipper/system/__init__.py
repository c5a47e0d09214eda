"""What the machine gives: files, threads, its stderr, a time of day that can be believed."""
