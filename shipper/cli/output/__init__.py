"""What a person is shown: tables, bars, a verdict."""
