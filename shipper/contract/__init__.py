"""The vendor's rules for an event: how it is built, written as JSON, and validated.

All modules are pure. They must never change a payload that an application wrote.
"""
