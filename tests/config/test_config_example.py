"""config.example.toml is true: it loads, is complete, and shows the defaults."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from shipper.config import Settings, load, show
from shipper.config.destination import HTTP_ONLY
from shipper.config.settings import every_setting

_EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
_REQUIRED = {
    "database.url": 'url = "sqlite:////x.db"',
    "destinations.default.url": 'url = "https://h/"',
    "destinations.default.api_id_file": 'api_id_file = "x"',
}


@pytest.fixture
def defaults(tmp_path: Path) -> Settings:
    """Return settings of which only what has no default is given."""
    database, url, api_id = _REQUIRED.values()
    file = tmp_path / "shipper.toml"
    file.write_text(f"[database]\n{database}\n[destinations.default]\n{url}\n{api_id}\n")
    return load(file, {})


def everything_in_the_example() -> dict[str, Any]:
    """Return the document with the settings that are commented out in it."""
    text = re.sub(r"^# (?=[a-z_-]+ = |\[)", "", _EXAMPLE.read_text(), flags=re.MULTILINE)
    return tomllib.loads(text)


def _owner(path: tuple[str, ...]) -> str:
    """Return the example's destination that shows a setting."""
    return "erp" if HTTP_ONLY.intersection(path) else "default"


def test_the_example_loads_as_it_is() -> None:
    """`cp config.example.toml shipper.toml` is a valid beginning, and without warnings."""
    settings = load(_EXAMPLE, {})
    assert list(settings.destinations) == ["default"]
    assert not settings.warnings


def test_the_example_has_every_setting() -> None:
    """What isn't in it doesn't exist for an operator."""
    for path, _ in every_setting():
        section: Any = everything_in_the_example()
        for part in path:
            name = _owner(path) if part == "*" else part
            assert name in section, f"{'.'.join(path)} is not in the example"
            section = section[name]


def test_the_example_shows_the_defaults(defaults: Settings) -> None:
    """Every line that counts either says what would hold without it, or has no default."""
    expected = {name: value for name, value, _ in show(defaults)}
    for name, value, origin in show(load(_EXAMPLE, {})):
        if name not in _REQUIRED:
            assert value == expected[name], name
            is_open = value == "unset" or name == "daemon.name"  # the machine decides
            assert (origin == "default") == is_open, f"{name} stands in no line"


def test_what_is_commented_out_is_valid_too() -> None:
    """Each commented value is one that its kind takes, so that uncommenting works."""
    for path, kind in every_setting():
        value: Any = everything_in_the_example()
        for part in path:
            value = value[_owner(path) if part == "*" else part]
        kind.parse(value, Path("/etc/shipper"))


def test_the_other_destination_of_the_example_works(tmp_path: Path) -> None:
    """Uncommented as a whole, once its secrets are there."""
    section = _EXAMPLE.read_text().partition("# [destinations.erp]")[2].partition("[validation]")[0]
    text = re.sub(r"^# ", "", f"# [destinations.erp]{section}", flags=re.MULTILINE)
    # Of the types of auth, one can be chosen.
    text = re.sub(r"^.*# (?:bearer|basic): .*\n", "", text, flags=re.MULTILINE)
    for name in ("erp_key", "erp_hook", "erp_client", "erp_sign"):
        (tmp_path / name).write_text(f"whsec_{'abcd' * 8}\n")
        (tmp_path / name).chmod(0o600)
    file = tmp_path / "shipper.toml"
    file.write_text(
        f"[database]\n{_REQUIRED['database.url']}\n" + text.replace("/etc/shipper", str(tmp_path))
    )
    erp = load(file, {}).destinations["erp"]
    assert erp.url == "https://erp.example/hooks/{type}?k={secret:hook}"
    assert set(erp.headers) == {"x-tenant", "x-api-key"}


def test_the_lines_are_short_enough_to_read() -> None:
    """A terminal of 120 columns shows the file without a break."""
    assert max(map(len, _EXAMPLE.read_text().splitlines())) <= 120
