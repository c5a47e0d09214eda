"""The completions for shells: what cyclopts generates from our commands, with corrections.

`man_page` writes them to `shipper/assets`. Every correction must find the text that it corrects: if
another version of cyclopts writes something else, this fails, and no shell gets broken completions.
It must never contain the name of a command.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

from cyclopts import App
from cyclopts.annotations import resolve

from shipper.cli.grammar.registry import COMMANDS
from shipper.cli.shell import application

Shell = Literal["bash", "zsh", "fish"]

_PROGRAM: Final = "shipper"

# After a command, all words belong to it, its options too. Otherwise zsh takes `--json` away from
# the words of `dead --json`, and offers nothing.
_ZSH_WORDS: Final = {
    "'1: :->cmds'": "'(-)1: :->cmds'",
    "'*::arg:->args'": "'(-)*::arg:->args'",
}
# If zsh finds the file by $fpath, the file is the body of the function `_shipper`: it defines
# another function, which this calls. If the file is sourced, there is nothing to complete yet.
_ZSH_CALL: Final = f"""
if [[ "$funcstack[1]" == _{_PROGRAM} ]]; then
  _cyclopts_{_PROGRAM} "$@"
else
  (( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit }}
  compdef _cyclopts_{_PROGRAM} {_PROGRAM}
fi
"""
# A name with a space stays one name, and a directory gets a slash.
_BASH_FILES: Final = {
    'COMPREPLY=( $(compgen -f -- "${cur}") )': "compopt -o filenames 2>/dev/null;"
    ' mapfile -t COMPREPLY < <(compgen -f -- "${cur}")',
}
# By default fish offers files everywhere, also as the value of an option.
_FISH_VALUES: Final = {" -r -d ": " -x -d "}
_FISH_HEAD: Final = "# Root-level commands\n"


def completion(shell: Shell) -> str:
    """Return the completions for a shell."""
    script = application().generate_completion(prog_name=_PROGRAM, shell=shell)
    corrected = _CORRECTIONS[shell](script)
    return "\n".join(line.rstrip() for line in corrected.splitlines()).strip() + "\n"


def _bash(script: str) -> str:
    return _replaced(script, _BASH_FILES)


def _zsh(script: str) -> str:
    return _replaced(script, _ZSH_WORDS) + _ZSH_CALL


def _fish(script: str) -> str:
    nowhere = f"# No files, except where a command takes one\ncomplete -c {_PROGRAM} -f\n"
    script = _replaced(script, {**_FISH_VALUES, _FISH_HEAD: nowhere + _FISH_HEAD})
    return script + "\n".join(_fish_files(application()))


def _fish_files(app: App) -> Iterator[str]:
    """Yield the lines that let fish offer files for commands with a file as argument."""
    for command in COMMANDS:
        if _takes_a_file(app, command.words):
            where = f"__fish_{_PROGRAM}_using_command {command.words}"
            yield f"complete -c {_PROGRAM} -n '{where}' -F"


def _takes_a_file(app: App, words: str) -> bool:
    for word in words.split():
        app = app[word]
    arguments = app.assemble_argument_collection(
        default_parameter=application().default_parameter, parse_docstring=True
    )
    return any(resolve(a.hint) is Path and not a.name.startswith("-") for a in arguments)


def _replaced(script: str, corrections: Mapping[str, str]) -> str:
    for wrong, right in corrections.items():
        assert wrong in script, f"cyclopts no longer writes {wrong}"
        script = script.replace(wrong, right)
    return script


_CORRECTIONS: Final[Mapping[Shell, Callable[[str], str]]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}
