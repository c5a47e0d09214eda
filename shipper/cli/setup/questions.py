"""What `init` has to know, from options or from at most four questions, each with a default.

Without a terminal it asks nothing. After an invalid answer it asks again; an invalid option is a
usage error. A secret needn't be on the command line, where every user of the machine and the
shell's history see it: `-` reads a line of stdin.
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
    """The options of the command line; None is an option that isn't given."""

    database: str | None
    url: str | None
    api_id: str | None
    api_id_file: Path | None
    output: Path | None


@dataclass(frozen=True, slots=True)
class InitAnswers:
    """The values that `init` uses; `api_id` is None if there is none to store."""

    database: str
    url: str
    api_id: Secret | None
    output: Path


def collect(given: InitOptions, *, asks: bool, output: Path) -> InitAnswers:
    """Return all values; `output` is the default path of the configuration.

    Raises UsageError for an invalid option, and at the end of stdin.
    """

    def answer(option: str, value: str | None, question: str, default: str, check: Check) -> str:
        if value is None and asks:
            return _ask(question, default, check)
        return _checked(option, default if value is None else value, check)

    given = given._replace(
        database=_from_stdin("--database", given.database),
        api_id=_from_stdin("--api-id", given.api_id),
    )
    database = answer("--database", given.database, _DATABASE_QUESTION, DATABASE, _check_database)
    url = answer("--url", given.url, "Which URL receives the events?", URL, _check_url)
    api_id = given.api_id
    if api_id is None and given.api_id_file is None and asks:
        api_id = _ask_secretly("Your API ID? (not shown; leave it empty to store it later)")
    secret = None if api_id is None else Secret(_checked("--api-id", api_id, _check_api_id))
    place = None if given.output is None else str(given.output)
    where = answer("--output", place, "Where to write the configuration?", str(output), _check_new)
    return InitAnswers(database, url, secret, Path(where).absolute())


def _from_stdin(option: str, value: str | None) -> str | None:
    """Return the value, or for `-` the next line of stdin."""
    if value != _STDIN:
        return value
    line = sys.stdin.readline(_LINE_MOST)
    if not line.strip():
        raise UsageError(
            f"{option} -: stdin has no line for it", "one line each: --database, --api-id"
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
        raise ValueError(f"{text} exists already, and is not overwritten")


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
            raise _unanswered()
        answer = line.strip() or default
        try:
            check(answer)
        except ValueError as error:
            print(f"  it {error}", file=sys.stderr)
        else:
            return answer


def _unanswered() -> UsageError:
    print(file=sys.stderr)  # the question's line has no end yet
    return UsageError("stdin ended before all questions were answered", "shipper init --help")


def _ask_secretly(question: str) -> str | None:
    while True:
        try:
            answer = getpass(f"{question} ", sys.stderr).strip()
        except EOFError:
            raise _unanswered() from None
        try:
            if answer:
                _check_api_id(answer)
        except ValueError as error:
            print(f"  it {error}", file=sys.stderr)
        else:
            return answer or None
