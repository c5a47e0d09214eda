"""Which commands there are, and what is made of that: parser, man page, completions, guesses."""
