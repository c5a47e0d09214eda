"""Make `FAULTS.md`, and its short form in one of the documents, from the list of faults.

Each test that they name must exist.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import tests.campaigns.test_campaigns as campaigns
from tests.campaigns.faults import FAULTS, IN_SHORT, Fault
from tests.campaigns.touches import TOUCHES

ROOT = Path(__file__).parents[2]
FILE = ROOT / "tests" / "FAULTS.md"
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "shipper" / "manual").glob("*.md")))

_HEAD = """\
# Faults

What can go wrong, what shipper does about it, and the test that shows it.
`python -m tests.campaigns faults` writes this file. A test fails if the file is out of date, or if it
names a test that doesn't exist.

*Tried* is how often one run of all tests meets the fault. The campaigns (`tests/campaigns/`) run at
any size: `python -m tests.campaigns --help`. Each seed of the simulation (`tests/simulation/`) mixes
most of these faults in one run, on virtual time. "As N01" in the table means: shipper does the same as
for the fault N01.
"""


def text() -> str:
    """Return the text of the file; raise ValueError for a test that doesn't exist."""
    kinds = sum(map(len, FAULTS.values()))
    parts = [_HEAD, f"{kinds} kinds of fault.\n"]
    for group, faults in FAULTS.items():
        lines = [_line(fault) for fault in faults]
        parts.append("\n".join([f"## {group}\n", _TITLES, "|---|---|---|---|---|", *lines, ""]))
    return "\n".join([*parts, _TOUCHED, *_touches()])


def _touches() -> Iterator[str]:
    """Yield the lines of the table of all places where the package touches a file."""
    yield from (_TOUCH_TITLES, "|---|---|---|")
    listed = ((touch, why) for why, touches in TOUCHES.items() for touch in touches)
    for (module, function, call, times), why in sorted(listed):
        often = f" ({times} times)" if times > 1 else ""
        yield f"| `{module}` {function} | `{call.replace('|', '/')}`{often} | {why} |"
    yield ""


def short() -> str:
    """Return the short form: how many kinds of fault of each group are tested."""
    lines = [f"| {group} | {len(FAULTS[group])} | {what} |" for group, what in IN_SHORT.items()]
    return "\n".join([_SHORT_TITLES, "|---|---|---|", *lines])


def write() -> None:
    """Write the file, and the table in the document that has it."""
    FILE.write_text(text(), "utf-8")
    document = in_short()
    before, _, rest = document.read_text("utf-8").partition(_SHORT_TITLES)
    _, _, after = rest.partition("\n\n")
    document.write_text(f"{before}{short()}\n\n{after}".rstrip("\n") + "\n", "utf-8")


def in_short() -> Path:
    """Return the document that has the short form: the README, or a chapter of the manual."""
    [document] = [path for path in DOCUMENTS if _SHORT_TITLES in path.read_text("utf-8")]
    return document


_SHORT_TITLES = "| | kinds of fault | among them |"
_TOUCHED = """\
## Files

The directory of an outbox has the mode 2770: members of the group can write there, and root works
there, too. This table has all the places where the package opens, makes, renames, changes or removes a
file, and says why no other user can choose the target. A test compares the table with the source, so
that no place is missing. In the tests of `security/`, a hostile member of the group tries it.
"""
_TOUCH_TITLES = "| where | call | why no other user can choose the target |"
_TITLES = "| id | what happens | what shipper does | test | tried |"


def _line(fault: Fault) -> str:
    check(fault.test)
    sizes = {name: value for name, value in vars(campaigns).items() if name.isupper()}
    tried = fault.tried.format_map(sizes)
    where = fault.test.removeprefix("tests/")
    return f"| {fault.id} | {fault.happens} | {fault.shipper_does} | `{where}` | {tried} |"


def check(test: str) -> None:
    """Raise ValueError unless there is such a test (`path::name`, or `path::name[case]`)."""
    path, _, name = test.partition("::")
    function, bracket, case = name.partition("[")
    source, functions = _read(path)
    if function not in functions or (bracket and f'"{case.removesuffix("]")}"' not in source):
        raise ValueError(f"there is no {test}")


@cache
def _read(path: str) -> tuple[str, frozenset[str]]:
    try:
        source = (ROOT / path).read_text("utf-8")
    except FileNotFoundError:
        raise ValueError(f"there is no {path}") from None
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    functions = (node.name for node in ast.walk(ast.parse(source)) if isinstance(node, kinds))
    return source, frozenset(functions)
