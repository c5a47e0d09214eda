"""What operators' commands write: enqueue, retry, discard, hold, reroute, move, backup."""
