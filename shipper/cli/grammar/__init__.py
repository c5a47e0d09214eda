"""The grammar of the command line: which commands there are, their parser, near misses."""
