"""The list of faults says what is true, and `FAULTS.md` says what the list says."""

from collections import Counter
from pathlib import Path

import pytest

from tests.campaigns.fault_list import FILE, check, in_short, short, text
from tests.campaigns.faults import FAULTS, IN_SHORT
from tests.campaigns.touches import TOUCHES
from tests.campaigns.touching import touches


def test_the_file_is_what_the_list_makes_of_it() -> None:
    """And every test in it exists."""
    assert FILE.read_text("utf-8") == text(), "run: python -m tests.campaigns faults"


def test_a_document_has_the_list_in_short() -> None:
    """Every group with its count."""
    assert IN_SHORT.keys() == FAULTS.keys()
    assert short() in in_short().read_text("utf-8"), "run: python -m tests.campaigns faults"


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
        "tests/destination/test_faults.py::test_every_fault_has_one_name[nothing of that name]",
    ],
)
def test_a_test_that_is_not_there_is_noticed(test: str) -> None:
    """Whichever part of its name is wrong."""
    with pytest.raises(ValueError, match="there is no"):
        check(test)


def test_every_place_that_touches_a_file_is_listed_with_a_reason() -> None:
    """And none is listed that isn't there any more: FAULTS.md, under "Files"."""
    listed = Counter(
        {(module, function, call): times for touches in TOUCHES.values()
         for module, function, call, times in touches}
    )  # fmt: skip
    found = touches()
    assert found - listed == Counter(), "in no list: tests/campaigns/touches.py"
    assert listed - found == Counter(), "not in the source any more: tests/campaigns/touches.py"
    assert sum(map(len, TOUCHES.values())) == len(listed)


@pytest.mark.parametrize(
    "source",
    [
        "open('x')", "path.open('wb')", "os.open('x', 1)", "(a / b).write_text('x')",
        "os.rename('a', 'b')", "path.rename('b')", "os.replace('a', 'b')", "path.replace('b')",
        "path.unlink()", "os.unlink('x')", "os.remove('x')", "path.chmod(1)", "os.chown('x', 1, 1)",
        "os.link('a', 'b')", "path.symlink_to('x')", "path.hardlink_to('x')", "d.mkdir()",
        "os.makedirs('x')", "shutil.rmtree('x')", "shutil.move('a', 'b')", "shutil.copy('a', 'b')",
        "sqlite3.connect('x')", "path.touch()", "tempfile.mkstemp()", "s.bind('x')",
        "os.truncate('x', 1)", "os.mkfifo('x')", "path.write_bytes(b'')", "path.read_bytes()",
    ],
)  # fmt: skip
def test_a_place_that_touches_a_file_is_found(tmp_path: Path, source: str) -> None:
    """Whichever way it is written."""
    (tmp_path / "new.py").write_text(
        f"class A:\n    async def f(self):\n        return [{source}]\n"
    )
    (found,) = touches(tmp_path)
    assert found[:2] == ("new.py", "A.f")
