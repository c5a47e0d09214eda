"""Values from elsewhere that nobody can trust: headers of answers, event ids, configurations."""

from collections.abc import Mapping
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from shipper.config.template import Unbuildable
from shipper.destination.form import idempotency_key
from shipper.policy.outcome import RETRY_AFTER_MAX, parse_retry_after
from tests.campaigns.figures import Figures
from tests.config.anything import DOCUMENTS, VARIABLES, faults

TEXT = st.text(st.characters(exclude_categories=()), max_size=8)
"""Any text, lone surrogates included."""


def examples(number: int) -> settings:
    """Return how hypothesis is to make so many examples, and nothing but these."""
    return settings(
        max_examples=number,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def header_values(*, number: int, seed_: int) -> Figures:
    """Read so many values of Retry-After and Date, and as many event ids; none may break anything."""
    figures = Figures("Retry-After values and event ids", seed_)
    dates = st.datetimes().map(lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    numbers = st.integers().map(str) | st.floats().map(str)
    values = st.none() | st.text(max_size=40) | numbers | dates

    @seed(seed_)
    @examples(number)
    @given(values, values, st.floats(0, 4e9), TEXT)
    def each(value: str | None, date: str | None, wall: float, event_id: str) -> None:
        figures.tried["values"] += 1
        seconds = parse_retry_after(value, date, wall)
        if seconds is not None and not 0 <= seconds <= RETRY_AFTER_MAX:
            figures.fault(f"{value!r} at {date!r} is {seconds}")
        try:
            key = idempotency_key(event_id)
        except Unbuildable:
            return
        if not (key.isascii() and (key.isprintable() or not key) and " " not in key):
            figures.fault(f"{event_id!r} becomes {key!r}")

    each()
    return figures


def configurations(where: Path, *, number: int, seed_: int) -> Figures:
    """Read so many configuration files, each with an environment of its own."""
    figures, file = Figures("configurations", seed_), where / "shipper.toml"

    @seed(seed_)
    @examples(number)
    @given(DOCUMENTS, VARIABLES)
    def each(document: bytes, environ: Mapping[str, str]) -> None:
        figures.tried["configurations"] += 1
        figures.fault(*(f"{found}, of {document!r}" for found in faults(file, document, environ)))

    each()
    return figures
