"""`shipper init`: write a first configuration, and create the outbox.

It must never overwrite a file. The outbox comes first: if the database can't be opened, no file is
written, so that the operator can repeat the same command.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from shipper.cli.output.context import Context
from shipper.cli.setup.questions import InitAnswers, InitOptions, collect
from shipper.cli.setup.template import render
from shipper.cli.setup.units import PLACES, TEMPLATE_PLACE
from shipper.config import masked
from shipper.config.loader import SYSTEM_PATH
from shipper.config.urls import DatabaseUrl
from shipper.doctor.unit import UNIT, instance_of, instance_unit
from shipper.errors import AccessDenied, NotWritten, UsageError
from shipper.store.db.engine import database_path
from shipper.store.db.opening import opened
from shipper.store.schema import revisions
from shipper.store.upgrade import migrate
from shipper.system.files import Directory, Untrusted

_PRIVATE, _FOR_GROUP, _READABLE = 0o600, 0o640, 0o644
_DATABASE = (
    "The URL of your application's database. A relative path begins at the configuration's"
    " directory. Default: sqlite:///shop.db."
)
_INSERT = """\
  INSERT INTO shipper_outbox (payload) VALUES (
    '{"type":"view","view":{"type":"customSet","customSet":{"id":"set-1"}},
      "context":[{"type":"user","user":{"id":"user-1"}}]}');"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What `init` is going to write, and where."""

    answers: InitAnswers
    database: str
    api_id_file: Path

    @property
    def config(self) -> Path:
        """Return the path of the configuration."""
        return self.answers.output


def init(
    *,
    database: Annotated[str | None, Parameter(help=_DATABASE)] = None,
    url: str | None = None,
    api_id: str | None = None,
    api_id_file: Path | None = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    context: Context,
) -> None:
    """Write a commented configuration, and create the outbox in your application's database.

    It prompts for every value that isn't given as an option; without a terminal it
    uses the defaults. It never overwrites a file.

    Every user of the machine can see a command line. So the value - reads a secret
    from stdin: one line each for --database and --api-id, in this order.

    Parameters
    ----------
    url
        The URL that receives the events. Default: the vendor's.
    api_id
        The API ID. It is stored in a file that only you can read.
    api_id_file
        The file for the API ID. Default: api_id, beside the configuration.
    output
        The configuration file to write. Default: shipper.toml.
    """
    place = output or context.config_path
    given = InitOptions(database, url, api_id, api_id_file, place)
    answers = collect(given, asks=context.asks, output=Path("shipper.toml"))
    file = (api_id_file or answers.output.parent / "api_id").absolute()
    if answers.api_id is not None and os.path.lexists(file):
        raise UsageError(f"{file} exists already, and is not overwritten", "leave --api-id out")
    where = DatabaseUrl().parse(answers.database, answers.output.parent)
    plan = Plan(answers, where, file)
    with opened(where, create=True) as engine:
        notices = migrate.upgrade(engine)
    _write(plan)
    for notice in notices:
        context.note(notice)
    _report(context, plan)


def _write(plan: Plan) -> None:
    answers = plan.answers
    beside = plan.api_id_file.parent == plan.config.parent
    text = render(
        database=answers.database,
        url=answers.url,
        api_id_file=plan.api_id_file.name if beside else str(plan.api_id_file),
    )
    has_password = masked(answers.database) != answers.database
    # The group of the service's directory has to read the configuration.
    private = _FOR_GROUP if plan.config.parent == SYSTEM_PATH.parent else _PRIVATE
    _create(plan.config, text, private if has_password else _READABLE)
    if answers.api_id is not None:
        _create(plan.api_id_file, answers.api_id.reveal() + "\n", _PRIVATE)


def _create(path: Path, text: str, mode: int) -> None:
    try:
        with Directory(path.parent) as directory:
            # Before it has its group, only this user can read it.
            descriptor = directory.make(path.name)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    if mode == _FOR_GROUP:
                        os.fchown(descriptor, -1, directory.status().st_gid)
                    os.fchmod(descriptor, mode)
                    file.write(text)
            except OSError as error:
                directory.remove(path.name)  # half a file would block another try
                raise NotWritten(f"can't write {path}: {error.strerror}") from error
    except FileExistsError:
        raise UsageError(f"{path} exists already, and is not overwritten") from None
    except Untrusted as error:
        raise AccessDenied(f"can't write {path}: {error.filename} {error.strerror}") from None
    except PermissionError:
        raise AccessDenied(f"can't write {path}: permission denied") from None
    except OSError as error:
        raise UsageError(f"can't write {path}: {error.strerror}") from None


def _report(context: Context, plan: Plan) -> None:
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
    context.say(
        "\nYour application writes an event in the same transaction as the change it reports:\n"
    )
    context.say(_INSERT)
    context.say("\nNext:")
    for number, step in enumerate(_steps(plan), 1):
        context.say(f"  {number}. {step}")


def _steps(plan: Plan) -> list[str]:
    is_found = plan.config in {Path("shipper.toml").absolute(), SYSTEM_PATH}
    which = "" if is_found else f" -c {plan.config}"
    store = [] if plan.api_id_file.exists() else [f"write your API ID to {plan.api_id_file}"]
    # With a service, `shipper run` as root would leave files that only root can write.
    unit = _unit_of(plan.config)
    run = f"shipper run{which}" if unit is None else f"systemctl enable --now {unit}"
    is_server = database_path(plan.database) is None
    grant = (
        f"shipper db grants --role YOUR_APP{which}   (privileges for your application, for psql)"
    )
    return [
        *store,
        *([grant] if is_server else []),
        f"shipper check{which}   (checks the configuration)",
        f"{run}     (delivers until it is stopped)",
        f"shipper status{which}  (shows what is pending, and why)",
    ]


def _unit_of(config: Path) -> str | None:
    """Return the installed unit that reads this configuration, if there is one."""
    if config == SYSTEM_PATH:
        return UNIT if PLACES[UNIT].exists() else None
    instance = instance_of(config)
    return instance_unit(instance) if instance is not None and TEMPLATE_PLACE.exists() else None
