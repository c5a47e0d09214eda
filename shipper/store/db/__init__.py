"""How a database is reached: opened, asked within a transaction, and its failures understood."""
