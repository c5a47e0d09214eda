"""The tab key in bash, zsh and fish offers exactly the commands, options and values that exist."""

import shutil
from pathlib import Path

import pytest

from shipper.cli.grammar.parser import names
from shipper.cli.setup.assets import _ASSETS
from shipper.cli.setup.man_page import ASSETS, COMPLETIONS
from tests import needs
from tests.cli.shells import offered, run

# The files of the working directory.
FILES = {"my.toml", "a dir"}
STATUSES = {"pending", "delivered", "dead", "discarded"}


@pytest.fixture
def working(tmp_path: Path) -> Path:
    """Give a directory with a file, and with a directory that has a space in its name."""
    directory = tmp_path / "work"
    (directory / "a dir").mkdir(parents=True)
    (directory / "my.toml").touch()
    return directory


@pytest.fixture(params=sorted(COMPLETIONS.values()))
def shell(request: pytest.FixtureRequest) -> str:
    """Give the name of a shell."""
    return str(request.param)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("shipper ", set(names())),
        ("shipper st", {"status"}),
        ("shipper --json ev", {"events"}),
        ("shipper -c my.toml dead ", set(names(["dead"]))),
        *((f"shipper {family} ", set(names([family]))) for family in ("dead", "db", "service")),
        # An option before the second word, and one before an option.
        ("shipper dead --json ", set(names(["dead"]))),
        ("shipper events -c my.toml li", {"list"}),
        ("shipper events list --json --status ", STATUSES),
        ("shipper events --json list --status ", STATUSES),
        ("shipper events list --limit 5 --st", {"--status"}),
        ("shipper status --na", {"--nagios"}),
        ("shipper status --watch --na", {"--nagios"}),
        ("shipper healthcheck ", {"live", "ready"}),
        ("shipper assets show ", set(_ASSETS)),
        # What takes no file offers none.
        ("shipper dead retry ", set()),
        ("shipper events show ", set()),
        ("shipper hold --key ", set()),
    ],
)
def test_the_tab_key(shell: str, working: Path, line: str, expected: set[str]) -> None:
    """Commands, options, values: as complete and as short as `--help` has them."""
    assert offered(shell, line, ASSETS, working) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_an_option_with_its_value_behind_an_equals_sign(shell: str, working: Path) -> None:
    """The value alone is offered."""
    line = "shipper events list --status=d"
    assert offered(shell, line, ASSETS, working) == {"dead", "delivered", "discarded"}


def test_fish_offers_the_option_with_its_value(working: Path) -> None:
    """Fish offers the option together with the value."""
    found = offered("fish", "shipper events list --status=de", ASSETS, working)
    assert found == {"--status=dead", "--status=delivered"}


@pytest.mark.parametrize(
    "line",
    [
        "shipper -c ",
        "shipper dead list --config ",
        "shipper enqueue ",
        "shipper validate ",
        "shipper events export ",
        "shipper backup ",
        "shipper assets write ",
        "shipper init --output ",
    ],
)
def test_files_are_offered_where_one_is_meant(shell: str, working: Path, line: str) -> None:
    """A name with a space in it is one."""
    assert offered(shell, line, ASSETS, working) == FILES


def test_zsh_takes_a_file_that_is_sourced(working: Path) -> None:
    """As `source <(shipper assets show _shipper)` in a .zshrc does; zsh prints no error."""
    needs.program("zsh")
    shutil.copy(ASSETS / "_shipper", working / "shipper.zsh")
    for before in ("", "autoload -Uz compinit; compinit -u -D;"):
        lines = f"{before} source shipper.zsh; print $_comps[shipper]"
        assert run(working, "zsh", "-f", "-c", lines) == "_cyclopts_shipper\n"
