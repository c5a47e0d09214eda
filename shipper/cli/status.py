"""`shipper status`: how every destination is doing, in one look."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from shipper.cli.arguments import Duration
from shipper.cli.context import Context, cell, shown
from shipper.cli.daemons import told_of
from shipper.cli.wording import age, count
from shipper.clock import SystemClock, iso
from shipper.errors import ConfigError, UsageError
from shipper.store.reports import (
    Blocker,
    DestinationReport,
    commit_blockers,
    current_shipper,
    destination_report,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from shipper.cli.nagios import Line
    from shipper.cli.table import Header
    from shipper.store.footprint import Footprint
    from shipper.store.minutes import Minute
    from shipper.store.opening import Database

_OLDEST = 3600.0


def _header() -> "Header":
    from shipper.cli.table import Column  # noqa: PLC0415 - only a terminal needs rich

    return (
        *("destination", "state", "pending", "oldest", "delivered", "dead"),
        Column("discarded", gives=2),
        Column("purged", gives=1),
        Column("held keys", gives=3, if_quiet=True),
        "why",
    )


_Flag = Annotated[bool, Parameter(show_default=False)]


def status(
    *, watch: _Flag = False, nagios: _Flag = False, oldest: Duration = None, context: Context
) -> int | None:
    """Show how every destination is doing: its link, its counts, its oldest pending event.

    With --nagios the exit status is 2 where a link is paused, an event is pending
    for longer than --oldest, nobody ships while something is pending, or the
    budget of [space] is used up; 1 where a link is offline, throttled or held, a
    key is held, there are dead letters, or the budget is nearly used up; 3 where
    that can't be told.

    Parameters
    ----------
    watch
        Show it anew every second, until Ctrl-C.
    nagios
        Print the one line of a monitoring plugin, with performance data.
    oldest
        For --nagios: how long an event may be pending; 1h if left out.
    """
    if nagios and context.json:
        raise UsageError("--nagios prints a line of its own, no JSON", "leave one of the two out")
    if nagios:
        return _check(context, _OLDEST if oldest is None else oldest)
    if watch:
        from shipper.cli import live  # noqa: PLC0415 - only a terminal needs rich

        live.show(context, lambda width, _: _drawn(context, width), instead="shipper status")
    else:
        _show(context)
    return None


def _show(context: Context) -> None:
    now = SystemClock().wall()
    configured = context.settings().destinations
    with context.engine() as engine:
        shipper = current_shipper(engine)
        reports = destination_report(engine, configured, now)
        blockers = commit_blockers(engine)
        taken = _footprint(context, engine, reports, now)
        daemons = told_of(engine) if context.json else {}
    if context.json:
        context.emit(
            {
                "destinations": {report.name: _fields(report) for report in reports},
                "running": shipper is not None,
                **daemons,
                "blockers": [asdict(blocker) for blocker in blockers],
                "space": None if taken is None else _space(taken),
                "window": windows_told(context, now),
            }
        )
    else:
        context.table(_header(), [_row(report, now) for report in reports])
    _tell(context, shipper, blockers)
    if not context.json and (window := windows_told(context, now)) is not None:
        context.note(window)
    if taken is not None and not context.json:
        context.note(str(taken))


def windows_told(context: Context, now: float) -> str | None:
    """Return whether a delivery window is open, for a person; None where always is one."""
    settings = context.settings()
    if not settings.schedule.windows:
        return None
    from shipper.daemon.windows import Windows  # noqa: PLC0415 - brings the whole daemon along

    try:
        return Windows.of(settings).told(now)
    except ConfigError:  # a daemon that runs has others, and they are not all that is asked for
        return "the configured delivery windows are none; see: shipper check"


def _footprint(
    context: Context, engine: "Database", reports: Sequence[DestinationReport], now: float
) -> "Footprint | None":
    """Return what the outbox takes of its budget; None where nobody has set one."""
    budget = context.settings().space.budget
    if budget is None:
        return None
    from shipper.store.footprint import footprint  # noqa: PLC0415 - takes a while to be read

    return footprint(engine, sum(report.rows for report in reports), now, budget)


def _space(taken: "Footprint") -> dict[str, Any]:
    left = taken.days_left
    return {
        "bytes": taken.taken,
        "is_estimate": taken.is_estimate,
        "budget": taken.budget,
        "days_left": None if left is None else round(left, 1),
    }


def _check(context: Context, oldest: float) -> int:
    from shipper.cli.nagios import judge, line_of  # noqa: PLC0415 - a person needs none of it

    def read() -> "Line":
        configured = context.settings().destinations
        with context.engine() as engine:
            now = SystemClock().wall()
            is_shipped = current_shipper(engine) is not None
            reports = destination_report(engine, configured, now)
            taken = _footprint(context, engine, reports, now)
        return judge(reports, configured, is_shipped=is_shipped, oldest=oldest, taken=taken)

    line = line_of(read)
    context.say(line.text)
    return line.level


def _drawn(context: Context, width: int) -> "RenderableType":
    from rich.console import Group  # noqa: PLC0415 - only a terminal needs rich
    from rich.text import Text  # noqa: PLC0415

    from shipper.cli.bars import first_minute  # noqa: PLC0415
    from shipper.cli.table import laid_out  # noqa: PLC0415
    from shipper.store.minutes import since  # noqa: PLC0415

    now = SystemClock().wall()
    first = first_minute(now)
    with context.engine() as engine:
        shipper = current_shipper(engine)
        reports = destination_report(engine, context.settings().destinations, now)
        minutes = since(engine, first)
    rows = [[shown(value) for value in _row(report, now)] for report in reports]
    who = "no shipper is running" if shipper is None else f"{shipper} ships"
    window = windows_told(context, now)
    who += f"; {window}" if window else ""
    return Group(
        laid_out(_header(), rows, width),
        Text(),
        *_delivered(minutes, first, [report.name for report in reports], width),
        Text(f"\n{iso(now)}  {who}; Ctrl-C ends"),
    )


def _delivered(
    minutes: "Sequence[Minute]", first: float, names: Sequence[str], width: int
) -> "Iterator[RenderableType]":
    """Yield a line for each destination: what was delivered in the last minutes, as bars."""
    from rich.text import Text  # noqa: PLC0415 - as above

    from shipper.cli.bars import MINUTES, alphabet, by_minute  # noqa: PLC0415
    from shipper.cli.chart import drawn, latest  # noqa: PLC0415

    characters, labels = alphabet(), [cell(name) for name in names]
    widest = max(map(len, labels), default=0)
    for name, label in zip(names, labels, strict=True):
        of_it = [minute for minute in minutes if minute.destination == name]
        values = by_minute(of_it, first, lambda minute: minute.delivered)
        head = f"{label:<{widest}}  {count(latest(values)):>7} delivered/min  "
        room = max(0, min(MINUTES, width - len(head) - 1))
        yield Text.assemble(head, drawn(values, room, characters))


def _tell(context: Context, shipper: str | None, blockers: Sequence[Blocker]) -> None:
    if shipper is None:
        context.note("no shipper is running; this is what was last recorded")
    elif not context.json:
        context.note(f"{shipper} ships")
    if blockers:
        context.note(
            "the newest events wait, because an open transaction may still commit earlier ones:"
            f" {blockers[0]}"
        )


def _fields(report: DestinationReport) -> dict[str, Any]:
    fields = asdict(report)
    del fields["name"]
    for name in ("since", "next_try_at"):
        fields[name] = None if fields[name] is None else iso(fields[name])
    oldest = report.oldest_pending_seconds
    fields["oldest_pending_seconds"] = None if oldest is None else round(oldest, 3)
    return fields


def _row(report: DestinationReport, now: float) -> tuple[object, ...]:
    oldest = report.oldest_pending_seconds
    return (
        report.name,
        report.state,
        report.pending,
        "" if oldest is None else age(oldest),
        report.delivered,
        report.dead,
        report.discarded,
        report.purged,
        report.held_keys,
        "; ".join(_why(report, now)),
    )


def _why(report: DestinationReport, now: float) -> list[str]:
    words = [report.reason] if report.reason else []
    if report.since is not None:
        state = "" if report.reason else f"{report.state} "
        words.append(f"{state}for {age(now - report.since)}")
    if report.next_try_at is not None:
        wait = report.next_try_at - now
        words.append(f"next try in {age(wait)}" if wait > 0 else "next try due")
    return words
