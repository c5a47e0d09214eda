"""What the operating system offers: files, threads, stderr, and a time of day that is confirmed."""
