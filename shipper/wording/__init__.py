"""How things are said to a person: advice, numbers, colours, texts that come from elsewhere."""
