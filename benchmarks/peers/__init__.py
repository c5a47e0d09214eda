"""Other tools that do the same work, each in its own process, in a virtual environment."""
