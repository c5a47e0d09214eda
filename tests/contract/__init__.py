"""The vendor's events: building, checking, and the words of a violation."""
