"""Who may ship."""
