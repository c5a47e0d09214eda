"""What a command prints: tables, bars, problems, live displays."""
