"""What the README and the package promise, done."""
