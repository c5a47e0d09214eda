"""Tables on terminals of every width: what gives way, what never does, and no word is broken."""

from io import StringIO

import pytest
from rich.console import Console

from shipper.cli.output.columns import Column, middle, without_year
from shipper.cli.output.table import print_table

HEADER = (
    "id",
    "status",
    Column("written", gives=2, short=without_year),
    Column("destination", gives=4),
    Column("key", gives=3, short=middle(13)),
    Column("event id", gives=1),
    "last error",
)
UUID = "2b5c1e0a-7f39-4d0e-9a57-3d1f6f1c8e44"
ROWS = [
    ["4711", "delivered", "2026-11-27T04:05:06.123Z", "default", UUID, UUID, ""],
    ["12", "dead", "2026-11-27T04:05:06.123Z", "erp", "u-7", "order-4711", "http-422: HTTP 422"],
]


def drawn(width: int, header: tuple[str | Column, ...] = HEADER, rows: object = ROWS) -> list[str]:
    """Return the lines of a table on a terminal of a width."""
    file = StringIO()
    print_table(header, rows, Console(file=file, width=width))  # type: ignore[arg-type]
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (200, "id status written destination key event id last error"),
        (140, "id status written destination key last error"),
        (100, "id status written destination key last error"),
        (80, "id status written destination key last error"),
        (70, "id status written key last error"),
    ],
)
def test_columns_give_way_in_their_order(width: int, columns: str) -> None:
    """One line a row, from 80 columns on; on a wide terminal all there is."""
    head, *rows = drawn(width)
    assert " ".join(head.split()) == columns
    assert len(rows) == 2
    assert all(len(line) <= width for line in rows)
    assert (UUID in rows[0]) == (width >= 140)
    assert ("2026-" in rows[0]) == (width >= 140)
    assert rows[1].endswith("http-422: HTTP 422")


def test_what_gives_way_is_still_known() -> None:
    """A time to the second, a key by both its ends."""
    [first, _] = drawn(80)[1:]
    assert first.split() == ["4711", "delivered", "11-27", "04:05:06", "default", "2b5c1e…1c8e44"]


@pytest.mark.parametrize("width", [59, 40, 20])
def test_a_narrow_terminal_gets_blocks(width: int) -> None:
    """A label and a value a line, and nothing is shortened."""
    lines = drawn(width)
    assert lines[0] == "id           4711"
    assert f"key          {UUID}" in lines
    assert "written      2026-11-27T04:05:06.123Z" in lines
    assert not any(line.startswith("last error   ") for line in lines[: lines.index("")])


@pytest.mark.parametrize("width", range(20, 121, 5))
def test_no_word_is_broken(width: int) -> None:
    """Every line ends with a word, and in blocks the next goes on under it."""
    why = "3 of them behind held keys; next try in 6s, and not one of them sooner than that"
    lines = drawn(
        width, ("destination", "state", "pending", "why"), [["default", "held", "7", why]]
    )
    said = " ".join(" ".join(lines).split())
    for word in why.split():
        assert word in said.split()
    if width < 60:
        begins = next(line for line in lines if line.startswith("why"))
        at = len(begins) - len(begins.removeprefix("why").lstrip())
        following = lines[lines.index(begins) + 1]
        assert not following or following[:at].strip() == ""


def test_a_number_that_says_something_stays() -> None:
    """A column of nothing goes where there is no room; one with a held key doesn't."""
    header = ("destination", Column("held keys", gives=1, if_quiet=True), "why")
    why = "x" * 20 + " " + "y" * 30
    quiet = drawn(60, header, [["d" * 20, "0", why]])
    assert "held keys" not in quiet[0]
    loud = drawn(60, header, [["d" * 20, "2", why]])
    assert any("held keys" in line for line in loud)


def test_quantities_have_their_thousands_apart() -> None:
    """And stand under each other."""
    lines = drawn(80, ("name", "pending", "why"), [["a", "6,661", ""], ["b", "7", "x"]])
    assert lines == ["name  pending  why", "a       6,661", "b           7  x"]


def test_an_empty_table_has_its_header() -> None:
    """Nothing else, and nothing raises."""
    assert drawn(80, HEADER, []) == ["id  status  written  destination  key  event id  last error"]


def test_a_cut_text_is_as_long_as_it_may_be() -> None:
    """Both ends are there; what is short enough stays."""
    cut = middle(13)
    assert cut(UUID) == "2b5c1e…1c8e44"
    assert cut("0123456789abc") == "0123456789abc"
    assert len(cut("0123456789abcd")) == 13
