"""What a campaign has tried, what it has measured, and what it has found wrong."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Figures:
    """The result of a campaign; `violations` is empty when every promise was kept."""

    campaign: str
    seed: int
    tried: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[float]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def measure(self, what: str, value: float) -> None:
        """Take one measurement of many."""
        self.samples.setdefault(what, []).append(value)

    def fault(self, *found: str) -> None:
        """Note that a promise was broken."""
        self.violations += found

    def expect(self, fine: object, otherwise: str) -> None:
        """Note a broken promise unless something is so."""
        if not fine:
            self.fault(otherwise)

    def add(self, other: "Figures") -> None:
        """Count another round's figures among these."""
        self.tried += other.tried
        for what, values in other.samples.items():
            self.samples.setdefault(what, []).extend(values)
        self.violations += other.violations

    def lines(self) -> list[str]:
        """Return the result for a person."""
        counted = ", ".join(f"{count} {what}" for what, count in sorted(self.tried.items()))
        found = f"{len(self.violations)} violations" if self.violations else "0 violations"
        return [
            f"{self.campaign} (seed {self.seed}): {counted}; {found}",
            *(f"  {what}: {describe(values)}" for what, values in sorted(self.samples.items())),
            *(f"  VIOLATION {text}" for text in self.violations[:50]),
        ]


def describe(values: Iterable[float]) -> str:
    """Return the mean and the quantiles of measurements."""
    ranked = sorted(values)
    if not ranked:
        return "none"
    mean = sum(ranked) / len(ranked)
    at = {name: ranked[min(len(ranked) - 1, int(len(ranked) * q))] for name, q in _QUANTILES}
    told = ", ".join(f"{name} {value:.3g}" for name, value in at.items())
    return f"{len(ranked)} measured, mean {mean:.3g}, {told}, most {ranked[-1]:.3g}"


_QUANTILES = (("p50", 0.5), ("p99", 0.99))
