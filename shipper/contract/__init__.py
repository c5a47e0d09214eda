"""The vendor's rules for an event: how one is built, written as JSON, and judged.

Everything here is pure. Nothing here may change a payload that an application wrote.
"""
