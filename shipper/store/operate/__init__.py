"""What people do: write, retry, discard, hold, move and copy."""
