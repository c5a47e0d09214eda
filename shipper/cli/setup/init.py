"""`shipper init`: a first configuration and an outbox; nothing is ever overwritten.

The outbox comes first: where the database can't be had no file is written, so that the same
command can be given again.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from shipper.cli.output.context import Context
from shipper.cli.setup.questions import InitAnswers, InitOptions, collect
from shipper.cli.setup.template import render
from shipper.cli.setup.units import PLACES, UNIT
from shipper.config import masked
from shipper.config.loader import SYSTEM_PATH
from shipper.config.urls import DatabaseUrl
from shipper.errors import AccessDenied, NotWritten, UsageError
from shipper.store.db.opening import opened
from shipper.store.schema import revisions
from shipper.store.upgrade import migrate
from shipper.system.files import Directory, Untrusted

_PRIVATE, _FOR_GROUP, _READABLE = 0o600, 0o640, 0o644
_INSERT = """\
  INSERT INTO shipper_outbox (payload) VALUES (
    '{"type":"view","view":{"type":"customSet","customSet":{"id":"set-1"}},
      "context":[{"type":"user","user":{"id":"user-1"}}]}');"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is going to be written, and where."""

    answers: InitAnswers
    database: str
    api_id_file: Path

    @property
    def config(self) -> Path:
        """Return where the configuration goes."""
        return self.answers.output


def init(
    *,
    database: str | None = None,
    url: str | None = None,
    api_id: str | None = None,
    api_id_file: Path | None = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    context: Context,
) -> None:
    """Write a commented configuration and create the outbox; prompts for what no option gives.

    Without a terminal it asks nothing. It never overwrites a file. What is secret
    can be given as a line of stdin, for every user sees the command line.

    Parameters
    ----------
    database
        Your application's database; a relative path begins at the configuration's directory.
        With - it is a line of stdin.
    url
        Where events go.
    api_id
        The API ID; it is stored in a file that only you can read. With - it is a line of stdin,
        after the database's.
    api_id_file
        The file of the API ID, which is beside the configuration unless you say so.
    output
        Where the configuration is written.
    """
    place = output or context.config_path
    given = InitOptions(database, url, api_id, api_id_file, place)
    answers = collect(given, asks=context.asks, output=Path("shipper.toml"))
    file = (api_id_file or answers.output.parent / "api_id").absolute()
    if answers.api_id is not None and os.path.lexists(file):
        raise UsageError(f"{file} is there already, and is not overwritten", "leave --api-id out")
    where = DatabaseUrl().parse(answers.database, answers.output.parent)
    plan = Plan(answers, where, file)
    with opened(where, create=True) as engine:
        notices = migrate.upgrade(engine)
    _write(plan)
    for notice in notices:
        context.note(notice)
    _tell(context, plan)


def _write(plan: Plan) -> None:
    answers = plan.answers
    beside = plan.api_id_file.parent == plan.config.parent
    text = render(
        database=answers.database,
        url=answers.url,
        api_id_file=plan.api_id_file.name if beside else str(plan.api_id_file),
    )
    has_password = masked(answers.database) != answers.database
    # The service's directory belongs to the service's group, which has to read what lies there.
    private = _FOR_GROUP if plan.config == SYSTEM_PATH else _PRIVATE
    _create(plan.config, text, private if has_password else _READABLE)
    if answers.api_id is not None:
        _create(plan.api_id_file, answers.api_id.reveal() + "\n", _PRIVATE)


def _create(path: Path, text: str, mode: int) -> None:
    try:
        with Directory(path.parent) as directory:
            # Nobody may read it before it has its group.
            descriptor = directory.make(path.name)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    if mode == _FOR_GROUP:
                        os.fchown(descriptor, -1, directory.status().st_gid)
                    os.fchmod(descriptor, mode)
                    file.write(text)
            except OSError as error:
                directory.remove(path.name)  # half of it would be in the way of another try
                raise NotWritten(f"{path}: can't be written: {error.strerror}") from error
    except FileExistsError:
        raise UsageError(f"{path} is there already, and is not overwritten") from None
    except Untrusted as error:
        raise AccessDenied(f"can't write {path}: {error.filename} {error.strerror}") from None
    except PermissionError:
        raise AccessDenied(f"can't write {path}: permission denied") from None
    except OSError as error:
        raise UsageError(f"{path}: can't be written: {error.strerror}") from None


def _tell(context: Context, plan: Plan) -> None:
    if context.json:
        context.emit(
            {
                "config": str(plan.config),
                "database": masked(plan.database),
                "api_id_file": str(plan.api_id_file),
                "revision": revisions.head(),
            }
        )
        return
    context.say(f"wrote {plan.config}; the outbox is in {masked(plan.database)}")
    if context.verbosity < 0:
        return
    context.say("\nYour application writes an event in the transaction that it belongs to:\n")
    context.say(_INSERT)
    context.say("\nNext:")
    for number, step in enumerate(_steps(plan), 1):
        context.say(f"  {number}. {step}")


def _steps(plan: Plan) -> list[str]:
    is_found = plan.config in {Path("shipper.toml").absolute(), SYSTEM_PATH}
    which = "" if is_found else f" -c {plan.config}"
    store = [] if plan.api_id_file.exists() else [f"put your API ID into {plan.api_id_file}"]
    # Whoever has the service must not leave files behind that are root's.
    is_service = plan.config == SYSTEM_PATH and PLACES[UNIT].exists()
    run = f"systemctl enable --now {UNIT}" if is_service else f"shipper run{which}"
    is_server = plan.database.startswith("postgresql")
    grant = f"shipper db grants --role YOUR_APP{which}   (what its role needs: for psql)"
    return [
        *store,
        *([grant] if is_server else []),
        f"shipper check{which}   (is the configuration sound?)",
        f"{run}     (ships until it is stopped)",
        f"shipper status{which}  (what is pending, and why)",
    ]
