"""How fast shipper is: one command that measures the real daemon beside a bare client loop."""
