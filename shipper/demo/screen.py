"""Draw what the demo shows: the live view while it runs, the summary at its end. Pure."""

from dataclasses import dataclass

from rich.console import Group
from rich.table import Table
from rich.text import Text

from shipper.demo.shop import SHOPPERS
from shipper.demo.summary import DemoSummary
from shipper.sandbox import Summary
from shipper.wording.colours import STATES


@dataclass(frozen=True, slots=True)
class Scene:
    """The state of the demo at one moment."""

    written: int
    receiver: Summary
    in_flight: int
    link: str
    link_reason: str
    shop_is_open: bool
    is_over: bool


def live_view(scene: Scene) -> Group:
    """Return the view of a scene."""
    seen = scene.receiver
    order = "kept" if not seen.order_violations else f"{seen.order_violations} violations"
    view = Table(show_header=False, box=None, padding=(0, 2))
    view.add_row("written by the shop", f"[bold]{scene.written:,}[/]")
    view.add_row("received by the API", f"[bold green]{seen.distinct:,}[/]")
    view.add_row("in flight", f"{scene.in_flight}")
    view.add_row("failed on purpose", f"{seen.requests - seen.accepted:,}")
    view.add_row("received again", f"{seen.repeats:,}")
    view.add_row(f"order of {SHOPPERS} shoppers", order)
    view.add_row("link", Text.assemble((scene.link, STATES[scene.link]), f" {scene.link_reason}"))
    return Group(Text(_title(scene), style="bold"), view)


def _title(scene: Scene) -> str:
    if scene.is_over:
        return "the shop is closed; this is the result"
    return "the shop is open" if scene.shop_is_open else "the shop is closed; shipping the rest"


def summary_view(summary: DemoSummary) -> Group:
    """Return the table of a summary, with its verdict below."""
    verdict = (
        "[bold green]every event is accounted for[/]"
        if summary.balanced
        else "[bold red]THE COUNTS DON'T ADD UP[/]"
    )
    table = Table(title="summary", title_justify="left", show_header=False, box=None)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    for name, value in summary.as_json().items():
        if name != "balanced":
            shown = "-" if value is None else f"{value:,}"
            table.add_row(name.replace("_", " "), shown, summary.explanations().get(name, ""))
    return Group(table, Text.from_markup(verdict))
