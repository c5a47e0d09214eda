"""Every statement that reaches the database is written in this package and nowhere else."""
