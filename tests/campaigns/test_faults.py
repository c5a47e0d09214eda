"""The list of faults says what is true, and `FAULTS.md` says what the list says."""

from collections import Counter

import pytest

from tests.campaigns.fault_list import FILE, README, check, short, text
from tests.campaigns.faults import FAULTS, IN_SHORT


def test_the_file_is_what_the_list_makes_of_it() -> None:
    """And every test in it exists."""
    assert FILE.read_text("utf-8") == text(), "run: python -m tests.campaigns faults"


def test_the_readme_has_the_list_in_short() -> None:
    """Every group with its count."""
    assert IN_SHORT.keys() == FAULTS.keys()
    assert short() in README.read_text("utf-8"), "run: python -m tests.campaigns faults"


def test_no_fault_has_the_id_of_another() -> None:
    """Nor is there one that says the same."""
    faults = [fault for group in FAULTS.values() for fault in group]
    assert len(faults) >= 60
    assert [one for one, count in Counter(f.id for f in faults).items() if count > 1] == []
    assert [one for one, count in Counter(f.happens for f in faults).items() if count > 1] == []


@pytest.mark.parametrize(
    "test",
    [
        "tests/campaigns/test_faults.py::test_nothing",
        "tests/campaigns/nothing.py::test_nothing",
        "tests/http/test_http_faults.py::test_every_fault_has_one_name[nothing of that name]",
    ],
)
def test_a_test_that_is_not_there_is_noticed(test: str) -> None:
    """Whichever part of its name is wrong."""
    with pytest.raises(ValueError, match="there is no"):
        check(test)
