"""The pure modules: tables, and walks that nobody thought of."""
