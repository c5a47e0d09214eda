"""What is decided, and by which rule. Pure: time and chance come in as arguments."""
