"""The rules, one by one, without anything around them."""
