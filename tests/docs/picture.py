"""`python -m tests.docs.picture` draws demo.svg: the terminal of `shipper demo`, for the README.

It draws the figures of a recorded run, in demo.json, with the demo's own code: the picture is the
same on each machine. `python -m tests.docs.picture --record` runs the demo and records it first.
"""

import asyncio
import io
import json
import re
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from shipper.clock import BEGAN, SystemClock
from shipper.demo.play import Stage, play
from shipper.demo.screen import Scene, live_view, summary_view
from shipper.demo.summary import DemoSummary
from shipper.logs import open_log
from shipper.sandbox import Summary

PICTURE = Path(__file__).with_name("demo.svg")
RECORDED = Path(__file__).with_name("demo.json")
_COLUMNS = 80
_SECONDS = 10.0
# The sixteen colours of a dark terminal: black, red, green, yellow, blue, magenta, cyan, white.
_NORMAL = ["#1b1f27", "#f47067", "#6bc46d", "#e0b454", "#6cb6ff", "#dcbdfb", "#76d9e6", "#c9d1d9"]
_BRIGHT = ["#768390", "#ff938a", "#8ddb8c", "#ecc974", "#96d0ff", "#eedcff", "#b3f0ff", "#ffffff"]


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


_THEME = TerminalTheme(
    _rgb(_NORMAL[0]), _rgb(_NORMAL[7]), [*map(_rgb, _NORMAL)], [*map(_rgb, _BRIGHT)]
)


def drawn(recorded: str) -> str:
    """Return the picture of a recorded run. It loads nothing: no font, no script."""
    run: dict[str, Any] = json.loads(recorded)
    scene = Scene(**{**run["scene"], "receiver": Summary(**run["scene"]["receiver"])})
    console = Console(
        record=True,
        file=io.StringIO(),
        width=_COLUMNS,
        force_terminal=True,
        color_system="standard",
        legacy_windows=False,
        _environ={},
    )
    console.print(Text("$ .venv/bin/shipper demo"))
    console.print(live_view(scene))
    console.print(summary_view(DemoSummary(**run["summary"])))
    console.print("next: shipper init", highlight=False)
    own_font = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(
        title="shipper demo",
        theme=_THEME,
        code_format=own_font.replace("Fira Code, monospace", "monospace"),
        unique_id="demo",
    )


async def _recorded() -> str:
    """Run the demo and return its last scene and its summary as JSON."""
    clock = SystemClock()
    scenes: list[Scene] = []
    log = open_log("info", "json", io.StringIO())
    stage = Stage(clock, log, lambda: clock.monotonic() - BEGAN, scenes.append, asyncio.Event())
    with tempfile.TemporaryDirectory() as directory:
        summary = await play(Path(directory), _SECONDS, stage)
    run = {"scene": asdict(scenes[-1]), "summary": asdict(summary)}
    return json.dumps(run, indent=1) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--record"]:
        RECORDED.write_text(asyncio.run(_recorded()), "utf-8")
    PICTURE.write_text(drawn(RECORDED.read_text("utf-8")), "utf-8")
