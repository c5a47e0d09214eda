"""`shipper status`: the state of every destination, and what is wrong."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from shipper.cli.input.arguments import Duration
from shipper.cli.output import trouble_lines, windows
from shipper.cli.output.cells import cell, shown
from shipper.cli.output.columns import Column, Header
from shipper.cli.output.context import Context
from shipper.cli.output.daemons import daemon_fields, daemon_lines
from shipper.cli.output.trouble_lines import next_try
from shipper.clock import SystemClock, iso
from shipper.doctor.unit import start_command
from shipper.errors import UsageError
from shipper.observe.situation import Situation, SlowFacts, gather
from shipper.observe.troubles import Trouble, judge, state_of, why_of
from shipper.store.report.daemons import shippers, ships
from shipper.store.report.status import DestinationReport
from shipper.wording.quantities import age, count

if TYPE_CHECKING:
    from rich.console import RenderableType

    from shipper.cli.output.nagios import PluginLine
    from shipper.store.report.budget import Footprint
    from shipper.store.report.minutes import Minute

_OLDEST = 3600.0


def _header() -> Header:
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
    """Show the state of every destination, its counters, and its oldest pending event.

    Problems come first, the worst one before the others, each with a fix.

    With --nagios the exit status is that of a monitoring plugin.

    2, critical: the disk is full; commits wait for a standby; the daemon hangs or
    can't write; an invariant is broken (see verify); events are pending and no daemon
    is running; a destination is paused; an event has been pending for longer than
    --oldest (hours outside the delivery windows don't count); the budget of [space]
    is used up.

    1, warning: the disk fills up; there are dead letters; a key or a destination is
    held; a destination is offline or throttled; the last try failed; an open
    transaction keeps events back; the budget is nearly used up.

    3, unknown: the outbox or the configuration can't be read.

    Parameters
    ----------
    watch
        Draw it again every second, until Ctrl-C.
    nagios
        Print one line for a monitoring plugin, with performance data.
    oldest
        For --nagios: how long an event is allowed to be pending, like 15m. Default: 1h.
    """
    if nagios and context.json:
        raise UsageError("--nagios and --json can't be combined", "leave one of them out")
    if nagios:
        return _check(context, _OLDEST if oldest is None else oldest)
    if watch:
        from shipper.cli.output import live  # noqa: PLC0415 - only a terminal needs rich

        seldom = SlowFacts()
        live.show(
            context, lambda width, _: _drawn(context, width, seldom), instead="shipper status"
        )
    else:
        _show(context)
    return None


def _show(context: Context) -> None:
    now, settings = SystemClock().wall(), context.settings()
    with context.engine() as engine:
        facts, daemon = gather(
            engine,
            settings,
            now,
            start=start_command(settings.path),
        )
    facts = windows.known(facts, settings, now)
    troubles = judge(facts)
    if context.json:
        context.emit(
            {
                "destinations": {report.name: _fields(report, facts) for report in facts.reports},
                "running": daemon is not None,
                **daemon_fields(facts.daemons, facts.silence),
                "problems": [_problem(trouble) for trouble in troubles],
                "blockers": [asdict(blocker) for blocker in facts.blockers],
                "space": None if facts.taken is None else _space(facts.taken),
                "window": windows.sentence(context.settings(), now),
            }
        )
    else:
        trouble_lines.say(context, troubles)
        context.table(_header(), [_row(report, facts, now) for report in facts.reports])
    _report(context, facts)
    if not context.json and (window := windows.sentence(context.settings(), now)) is not None:
        context.note(window)
    if facts.taken is not None and not context.json:
        context.note(str(facts.taken))


def _problem(trouble: Trouble) -> dict[str, str | None]:
    return {"level": trouble.level.name.lower(), "message": trouble.text, "fix": trouble.fix}


def _space(taken: "Footprint") -> dict[str, Any]:
    left = taken.days_left
    return {
        "bytes": taken.taken,
        "is_estimate": taken.is_estimate,
        "budget": taken.budget,
        "days_left": None if left is None else round(left, 1),
    }


def _check(context: Context, oldest: float) -> int:
    from shipper.cli.output.nagios import line_of, plugin_line  # noqa: PLC0415 - only a plugin needs it

    def read() -> "PluginLine":
        now = SystemClock().wall()
        with context.engine() as engine:
            facts, _ = gather(engine, context.settings(), now, oldest=oldest)
        return plugin_line(windows.known(facts, context.settings(), now))

    line = line_of(read)
    context.say(line.text)
    return line.level


def _drawn(context: Context, width: int, seldom: SlowFacts) -> "RenderableType":
    from rich.console import Group  # noqa: PLC0415 - only a terminal needs rich
    from rich.text import Text  # noqa: PLC0415

    from shipper.cli.output.bars import first_minute  # noqa: PLC0415
    from shipper.cli.output.table import laid_out  # noqa: PLC0415
    from shipper.store.report.minutes import since  # noqa: PLC0415

    now, settings = SystemClock().wall(), context.settings()
    first = first_minute(now)
    with context.engine() as engine:
        start = start_command(settings.path)
        facts, _ = gather(engine, settings, now, start=start, seldom=seldom)
        minutes = since(engine, first)
    facts = windows.known(facts, settings, now)
    reports = facts.reports
    rows = [[shown(value) for value in _row(report, facts, now)] for report in reports]
    who = ships(shippers(facts.daemons))
    window = windows.sentence(settings, now)
    who += f"; {window}" if window else ""
    return Group(
        *trouble_lines.drawn(judge(facts)),
        laid_out(_header(), rows, width),
        Text(),
        *_delivered(minutes, first, [report.name for report in reports], width),
        Text(f"\n{iso(now)}  {who}; Ctrl-C ends"),
    )


def _delivered(
    minutes: "Sequence[Minute]", first: float, names: Sequence[str], width: int
) -> "Iterator[RenderableType]":
    """Yield one line per destination: the deliveries of the last minutes, as bars."""
    from rich.text import Text  # noqa: PLC0415 - as above

    from shipper.cli.output.bars import MINUTES, alphabet, by_minute  # noqa: PLC0415
    from shipper.cli.output.chart import drawn, latest  # noqa: PLC0415

    characters, labels = alphabet(), [cell(name) for name in names]
    widest = max(map(len, labels), default=0)
    for name, label in zip(names, labels, strict=True):
        of_it = [minute for minute in minutes if minute.destination == name]
        values = by_minute(of_it, first, lambda minute: minute.delivered)
        head = f"{label:<{widest}}  {count(latest(values)):>7} delivered/min  "
        room = max(0, min(MINUTES, width - len(head) - 1))
        yield Text.assemble(head, drawn(values, room, characters))


def _report(context: Context, facts: Situation) -> None:
    if not facts.is_shipped:
        context.note("no daemon is running; this state was recorded earlier")
    elif not context.json:
        context.note(ships(shippers(facts.daemons)))
        if len(facts.daemons) > 1:
            for line in daemon_lines(facts.daemons):
                context.note(line)
    if blockers := facts.blockers:
        context.note(
            "the newest events wait, because an open transaction can still commit earlier ones:"
            f" {blockers[0]}"
        )


def _fields(report: DestinationReport, facts: Situation) -> dict[str, Any]:
    fields = asdict(report)
    del fields["name"]
    fields["reason"] = report.reason or facts.closed_for(report)
    for name in ("since", "next_try_at"):
        fields[name] = None if fields[name] is None else iso(fields[name])
    oldest = report.oldest_pending_seconds
    fields["oldest_pending_seconds"] = None if oldest is None else round(oldest, 3)
    return fields


def _row(report: DestinationReport, facts: Situation, now: float) -> tuple[object, ...]:
    oldest, closed = report.oldest_pending_seconds, facts.closed_for(report)
    return (
        report.name,
        trouble_lines.state_of(report, is_shipped=facts.is_shipped and closed is None),
        report.pending,
        "" if oldest is None else age(oldest),
        report.delivered,
        report.dead,
        report.discarded,
        report.purged,
        report.held_keys,
        "; ".join(([closed] if closed else []) + _why(report, now)),
    )


def _why(report: DestinationReport, now: float) -> list[str]:
    why = why_of(report)
    words = [state_of(report) if report.is_failing else why] if why else []
    if report.since is not None and not (report.is_failing or report.is_untried):
        words.append(f"{'' if why else f'{report.state} '}for {age(now - report.since)}")
    return [*words, *next_try(report, now)]
