"""The configuration that `init` writes: the example, with the values of three settings.

So the file that an operator edits has every setting, each with its explanation.
"""

import json
import re

from shipper import resources


def example() -> str:
    """Return config.example.toml."""
    path = resources.packaged("config.example.toml")
    return path.read_text("utf-8")


def render(*, database: str, url: str, api_id_file: str) -> str:
    """Return a configuration with these values, which must be printable."""
    text = _with_value(example(), "database", "url", database)
    text = _with_value(text, "destinations.default", "url", url)
    return _with_value(text, "destinations.default", "api_id_file", api_id_file)


def _with_value(text: str, section: str, name: str, value: str) -> str:
    """Replace one value, and keep the column of its comment if there is room."""
    line = re.compile(
        rf'^(\[{re.escape(section)}\][^\n]*\n(?:(?!\[).*\n)*?{name} = )("[^"\n]*")( *)',
        re.MULTILINE,
    )
    found = line.search(text)
    assert found is not None, f"the example has no {section}.{name}"
    # TOML's basic strings escape as JSON's do.
    written = json.dumps(value, ensure_ascii=False)
    gap = max(len(found[2]) + len(found[3]) - len(written), 2)
    return f"{text[: found.start(2)]}{written}{' ' * gap}{text[found.end(3) :]}"
