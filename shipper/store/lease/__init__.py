"""Which process ships: the lease, its locks, and the fence of every write of the daemon."""
