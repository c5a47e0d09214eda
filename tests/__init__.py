"""The tests of shipper."""
