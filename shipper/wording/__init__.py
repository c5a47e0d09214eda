"""How texts are written for people: numbers, colours, HTTP statuses, texts from other programs."""
