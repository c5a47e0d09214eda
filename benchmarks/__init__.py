"""How fast shipper is: one command measures the real daemon and a bare client loop."""
