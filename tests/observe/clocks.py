"""A clock that goes when it is told to."""


class Hand:
    """Both clocks stand still; chance is always the same."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.offset = 1_800_000_000.0

    def wall(self) -> float:
        """Return the wall time."""
        return self.now + self.offset

    def monotonic(self) -> float:
        """Return the other."""
        return self.now

    def random(self) -> float:
        """Return a half."""
        return 0.5
