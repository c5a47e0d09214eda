"""Three real shells, each with shipper's completions where `shipper assets list` puts them.

The test types the words of a line and the tab key, as a person does.
"""

import os
import pty
import re
import select
import subprocess
from pathlib import Path

from tests import needs
from tests.cli.command_line import DEADLINE

# The file's name decides in which way a shell finds it.
_BASH = """
source {directory}/shipper.bash
COMP_WORDS=({words}) COMP_CWORD={last}
$(complete -p shipper | sed 's/.* -F \\([^ ]*\\) .*/\\1/') shipper
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
# What would be offered goes to a file; the shell ends once the tab key has been answered.
_ZSHRC = """
fpath=({directory} $fpath)
autoload -Uz compinit
compinit -u -D
bindkey '^I' complete-word
compadd () {{
  if [[ ${{@[1,(i)(-|--)]}} == *-(O|A|D)\\ * ]]; then builtin compadd "$@"; return $?; fi
  local -a hits
  builtin compadd -A hits "$@"
  (( $#hits )) && print -lr -- $hits >> {out}
}}
finish () {{ exit 0 }}
comppostfuncs=(finish)
print READY
"""
_FISH = "set -p fish_complete_path {directory}; complete -C {line}"


def offered(shell: str, line: str, completions: Path, working: Path) -> set[str]:
    """Return what a shell offers after a line, in a working directory; skips without the shell."""
    needs.program(shell)
    program = working / ".bin" / "shipper"  # fish reads completions only of what it can call
    program.parent.mkdir()
    program.symlink_to("/bin/true")
    asked = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
    found = asked(line, completions, working)
    # A shell's own marks: a description behind a tab, a slash behind a directory, an escaped space.
    words = (word.split("\t")[0].strip() for word in found.splitlines())
    return {word.rstrip("/").replace("\\ ", " ") for word in words} - {"", ".bin", ".zsh"}


def run(working: Path, *command: str) -> str:
    """Run a shell without a user's settings; fails if the shell prints an error."""
    done = subprocess.run(
        command,
        cwd=working,
        env=_environ(working),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.stdout


def _environ(working: Path) -> dict[str, str]:
    # Without a user's settings.
    return {
        "PATH": f"{working / '.bin'}:{os.environ['PATH']}",
        "HOME": str(working),
        "XDG_CONFIG_HOME": str(working / ".config"),
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
    }


def _bash(line: str, completions: Path, working: Path) -> str:
    # As COMP_WORDBREAKS has it, a word ends at an equals sign.
    words = [part for part in re.split(r" |(=)", line) if part is not None]
    quoted = " ".join(f"'{word}'" for word in words)
    script = _BASH.format(directory=completions, words=quoted, last=len(words) - 1)
    return run(working, "bash", "--norc", "-c", script)


def _fish(line: str, completions: Path, working: Path) -> str:
    script = _FISH.format(directory=completions, line=f"'{line}'")
    return run(working, "fish", "--no-config", "-c", script)


def _zsh(line: str, completions: Path, working: Path) -> str:
    home = working / ".zsh"
    home.mkdir()
    out = home / "offered"
    out.touch()
    (home / ".zshrc").write_text(_ZSHRC.format(directory=completions, out=out))
    leader, follower = pty.openpty()
    with subprocess.Popen(
        ["zsh", "-d", "-i"],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        cwd=working,
        env={**_environ(working), "ZDOTDIR": str(home)},
        start_new_session=True,
    ) as process:
        os.close(follower)
        try:
            said = _read_until(leader, b"READY")
            os.write(leader, f"{line}\t".encode())
            said += _read_until(leader, None)
            assert process.wait(DEADLINE) == 0, said
        finally:
            process.kill()
    os.close(leader)
    return out.read_text()


def _read_until(descriptor: int, wanted: bytes | None) -> bytes:
    """Read a terminal until a text appears, or until its process has ended."""
    said = b""
    while wanted is None or wanted not in said:
        ready, _, _ = select.select([descriptor], [], [], DEADLINE)
        assert ready, f"nothing more came after {said!r}"
        try:
            more = os.read(descriptor, 65536)
        except OSError:  # the process has ended
            break
        if not more:
            break
        said += more
    return said
