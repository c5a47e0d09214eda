"""Who may ship: the lease, its lock, and the fence that every write of the daemon passes."""
