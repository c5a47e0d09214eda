"""The man page and the completions match the commands, and work."""

import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from shipper.cli.grammar.manual import CHAPTERS
from shipper.cli.grammar.parser import names
from shipper.cli.grammar.registry import COMMANDS
from shipper.cli.setup.completion import completion
from shipper.cli.setup.man_page import ASSETS, COMPLETIONS, PAGE, contents, page
from tests import needs
from tests.cli.command_line import Home

ROOT = Path(__file__).parents[2]
REMEDY = "run: python -m shipper.cli.setup.man_page"


def checked(*command: str, text: str = "") -> str:
    """Run a program; fails if the program fails."""
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_man_page_is_current() -> None:
    """A change of a command's help needs a new man page."""
    assert (ASSETS / PAGE).read_text("utf-8") == page(), REMEDY


@pytest.mark.parametrize("name", COMPLETIONS)
def test_the_completions_are_current(name: str) -> None:
    """With the version of cyclopts in the constraints; others can differ."""
    pinned = re.search(
        r"^cyclopts==(\S+)$", (ROOT / ".ci/constraints.txt").read_text("utf-8"), re.MULTILINE
    )
    assert pinned is not None
    if version("cyclopts") != pinned[1]:
        needs.missing(f"made with cyclopts {pinned[1]}, and this is another")
    assert (ASSETS / name).read_text("utf-8") == completion(COMPLETIONS[name]), REMEDY


def test_every_file_is_an_asset(tmp_path: Path) -> None:
    """`shipper assets` lists them."""
    home = Home(tmp_path, "sqlite:///shop.db")
    told = home.call("assets", "list").out
    for name in contents():
        assert f"\n{name}\t" in told
        assert home.call("assets", "show", name).out == (ASSETS / name).read_text("utf-8")


def test_the_man_page_has_every_command_with_its_examples() -> None:
    """The same as in `--help`."""
    text = re.sub(r"\\f.|\\&", "", page()).replace("\\-", "-").replace("\\e", "\\")
    for command in COMMANDS:
        assert f"\n.SS shipper {command.words}" in text
        for example in command.examples:
            assert f"\n{example}\n" in text
    for name, chapter in CHAPTERS.items():
        assert f"\n{name}\n{chapter.about}\n" in text
    for section in ("MANUAL", "EXIT STATUS", "FILES", "ENVIRONMENT"):
        assert f"\n.SH {section}\n" in text


def test_every_line_of_the_man_page_is_roff() -> None:
    """A line with a leading period is a known request; no line is too wide for a terminal."""
    requests = {line.split()[0] for line in page().splitlines() if line.startswith((".", "'"))}
    assert requests <= {
        ".TH", ".SH", ".SS", ".B", ".BR", ".PP", ".TP", ".RS", ".RE", ".nf", ".fi",
    }  # fmt: skip


def test_the_man_page_is_sound() -> None:
    """Mandoc complains only about the missing date."""
    command = (needs.program("mandoc"), "-T", "lint", "-W", "warning", str(ASSETS / PAGE))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert [line for line in done.stdout.splitlines() if "missing date" not in line] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_takes_its_completions(shell: str) -> None:
    """The shell's own parser accepts them."""
    needs.program(shell)
    [name] = [name for name, of in COMPLETIONS.items() if of == shell]
    checked(shell, "-n", str(ASSETS / name))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["st"], {"status"}),
        (["events", ""], set(names(["events"]))),
        (["events", "export", "--status", "d"], {"dead"}),
        (["status", "--na"], {"--nagios"}),
    ],
)
def test_bash_completes(words: list[str], expected: set[str]) -> None:
    """Commands, options, and the values that an option can have."""
    line = " ".join(f"'{word}'" for word in ["shipper", *words])
    script = (
        f"source {ASSETS / 'shipper.bash'}; COMP_WORDS=({line}); COMP_CWORD={len(words)};"
        ' _shipper; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    assert {word.strip() for word in checked("bash", "-c", script).split()} == expected
