"""The same work done by others, each in a process of a virtual environment made for them."""
