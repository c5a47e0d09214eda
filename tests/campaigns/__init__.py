"""Campaigns against the real process: many faults, one after another, and what came of them."""
