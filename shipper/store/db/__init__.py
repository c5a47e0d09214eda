"""How a database is reached: how it is opened, how transactions run, what its failures mean."""
