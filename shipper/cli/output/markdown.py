"""A chapter of the manual on a terminal, in the terminal's own colours.

rich paints a dark box behind code, which hides it on a light background; here code is indented.
"""

from typing import ClassVar, Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Markdown, MarkdownElement
from rich.padding import Padding
from rich.text import Text
from rich.theme import Theme

_CODE: Final = "cyan"
_INDENT: Final = (0, 0, 1, 2)


class _Code(CodeBlock):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Padding(Text(str(self.text).rstrip("\n"), style=_CODE), _INDENT)


class _Markdown(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "fence": _Code,
        "code_block": _Code,
    }


def draw(text: str, screen: Console) -> None:
    """Print Markdown on a screen."""
    with screen.use_theme(Theme({"markdown.code": _CODE})):
        screen.print(_Markdown(text))
