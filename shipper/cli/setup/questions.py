"""What `init` has to know, from options or by asking: at most four questions, each with a default.

Nobody is asked without a terminal. An answer that can't be right is asked for again; an option
that can't be right is a usage error. What is secret needn't stand on the command line, where every
user of the machine and the shell's history have it: `-` is a line of stdin.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from getpass import getpass
from pathlib import Path
from typing import NamedTuple

from shipper.config import Secret
from shipper.config.secret import api_id as parse_api_id
from shipper.config.urls import DatabaseUrl, DestinationUrl
from shipper.errors import UsageError

DATABASE = "sqlite:///shop.db"
_STDIN = "-"
_LINE_MOST = 64 * 1024
URL = "https://api.8select.io/analytics/v3/events"


class InitOptions(NamedTuple):
    """What the command line says; None is left open."""

    database: str | None
    url: str | None
    api_id: str | None
    api_id_file: Path | None
    output: Path | None


@dataclass(frozen=True, slots=True)
class InitAnswers:
    """What was decided; `api_id` is None where there is none to be stored."""

    database: str
    url: str
    api_id: Secret | None
    output: Path


def collect(given: InitOptions, *, asks: bool, output: Path) -> InitAnswers:
    """Return an answer to everything; `output` is where the file goes unless somebody objects.

    Raises UsageError for an option that can't be right, and where nobody answers.
    """

    def settle(option: str, value: str | None, question: str, default: str, check: Check) -> str:
        if value is None and asks:
            return _ask(question, default, check)
        return _checked(option, default if value is None else value, check)

    given = given._replace(
        database=_from_stdin("--database", given.database),
        api_id=_from_stdin("--api-id", given.api_id),
    )
    database = settle("--database", given.database, _DATABASE_QUESTION, DATABASE, _check_database)
    url = settle("--url", given.url, "Where do events go?", URL, _check_url)
    api_id = given.api_id
    if api_id is None and given.api_id_file is None and asks:
        api_id = _ask_secretly("Your API ID? (not shown; leave it empty to store it later)")
    secret = None if api_id is None else Secret(_checked("--api-id", api_id, _check_api_id))
    place = None if given.output is None else str(given.output)
    where = settle("--output", place, "Where shall the configuration be?", str(output), _check_new)
    return InitAnswers(database, url, secret, Path(where).absolute())


def _from_stdin(option: str, value: str | None) -> str | None:
    """Return the value, or the next line of stdin for `-`."""
    if value != _STDIN:
        return value
    line = sys.stdin.readline(_LINE_MOST)
    if not line.strip():
        raise UsageError(
            f"{option} -: stdin has no line for it", "a line each: --database, --api-id"
        )
    return line.strip()


Check = Callable[[str], None]

_DATABASE_QUESTION = "Which database does your application use? (SQLite or PostgreSQL)"


def _check_database(text: str) -> None:
    DatabaseUrl().parse(text, Path())


def _check_url(text: str) -> None:
    DestinationUrl().parse(text, Path())


def _check_api_id(text: str) -> None:
    parse_api_id(text)


def _check_new(text: str) -> None:
    if os.path.lexists(text):
        raise ValueError(f"{text} is there already, and is not overwritten")


def _checked(option: str, value: str, check: Check) -> str:
    try:
        check(value)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None
    return value


def _ask(question: str, default: str, check: Check) -> str:
    while True:
        print(f"{question} [{default}] ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            raise UsageError("nobody answers", "shipper init --help names the options")
        answer = line.strip() or default
        try:
            check(answer)
        except ValueError as error:
            print(f"  it {error}", file=sys.stderr)
        else:
            return answer


def _ask_secretly(question: str) -> str | None:
    while True:
        answer = getpass(f"{question} ", sys.stderr).strip()
        try:
            if answer:
                _check_api_id(answer)
        except ValueError as error:
            print(f"  it {error}", file=sys.stderr)
        else:
            return answer or None
