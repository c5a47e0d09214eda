"""What the manual shows of containers is valid, agrees with itself, and with what shipper does."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from ruamel.yaml import YAML

from shipper.cli.grammar.parser import build
from shipper.cli.setup.service import install
from shipper.cli.setup.units import RELAXED, packaged
from shipper.config import load
from shipper.config.types import Seconds
from shipper.doctor.unit import UNIT
from shipper.drain.dispatcher import STOP_GRACE
from tests.docs.documents import TEXT, tagged

_DEADLINE = 60.0
_MARGIN = 30.0  # what the unit adds for the database, too
_SMALLEST = (
    '[database]\nurl = "sqlite:////var/lib/shop/shop.db"\n'
    '[destinations.default]\nurl = "https://api.example/events"\napi_id = "x"\n'
)
COMPOSE, DOCKERFILE = tagged("yaml", "compose"), tagged("dockerfile", "container")
STEPS = tagged("sh", "containers")


@pytest.fixture
def service() -> dict[str, Any]:
    """Give the service of the compose file."""
    parsed: dict[str, Any] = YAML(typ="safe").load(COMPOSE)["services"]["shipper"]
    return parsed


def instructions() -> dict[str, list[str]]:
    """Return what stands behind each instruction of the Dockerfile."""
    found: dict[str, list[str]] = {}
    for line in DOCKERFILE.splitlines():
        if not line.startswith("#"):
            word, _, rest = line.partition(" ")
            found.setdefault(word, []).append(rest)
    return found


def test_the_compose_file_is_valid(tmp_path: Path) -> None:
    """By the Compose Specification's own schema; and one with a misspelt key isn't."""
    file = tmp_path / "compose.yaml"
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    for text, status in ((COMPOSE, 0), (COMPOSE.replace("stop_grace", "stop_gracious"), 1)):
        file.write_text(text)
        done = subprocess.run([*check, file], capture_output=True, check=False, timeout=_DEADLINE)
        assert done.returncode == status, done.stdout + done.stderr


def test_it_waits_longer_than_a_clean_stop_takes(service: dict[str, Any], tmp_path: Path) -> None:
    """With the timeout that a destination has unless somebody sets another."""
    given = Seconds(0, 3600).parse(service["stop_grace_period"], Path())
    config = tmp_path / "config.toml"
    config.write_text(_SMALLEST)
    timeout = load(config, {}).destinations["default"].timeout
    assert given is not None
    assert given >= timeout + STOP_GRACE + _MARGIN
    assert service["init"] is True


def test_it_mounts_directories_that_belong_to_its_user(service: dict[str, Any]) -> None:
    """Never the file; a new volume takes owner and mode from the image."""
    mounted = dict(volume.split(":")[:2] for volume in service["volumes"])
    assert mounted["outbox"] == "/var/lib/shop"
    assert all(PurePosixPath(place).suffix == "" for place in mounted.values())
    uid, gid = service["user"].split(":")
    [directory] = [run for run in instructions()["RUN"] if run.startswith("install -d")]
    assert directory == f"install -d -m 2770 -o {uid} -g {gid} {mounted['outbox']}"
    assert instructions()["USER"] == [service["user"]]
    config = PurePosixPath(service["environment"]["SHIPPER_CONFIG"])
    assert str(config.parent) in mounted.values()
    assert f"-o {config} " in STEPS
    assert f"sqlite:///{mounted['outbox']}/" in STEPS
    host = next(v for v in service["volumes"] if v.endswith(f":{config.parent}")).split(":")[0]
    assert f"install -d -o {uid} -g {gid} {PurePosixPath(host).name} " in STEPS


def test_its_commands_are_ones_that_exist(service: dict[str, Any]) -> None:
    """The health check asks the port that the environment opens."""
    how, program, *words = service["healthcheck"]["test"]
    assert how == "CMD"
    assert instructions()["ENTRYPOINT"] == [f'["{program}"]']
    lines = re.findall(r"^docker compose (?:run --rm|exec) (.+)$", STEPS, re.MULTILINE)
    first, last = (shlex.split(line) for line in lines)
    assert first[0] == last[0] == "shipper"  # the name of the service
    assert last[1] == program
    for command in (words, first[1:], last[2:], *map(json.loads, instructions()["CMD"])):
        build().parse_args(command, exit_on_error=False, print_error=False)


def test_its_environment_is_a_configuration(service: dict[str, Any], tmp_path: Path) -> None:
    """Every variable is a setting."""
    config = tmp_path / "config.toml"
    config.write_text(_SMALLEST)
    settings = load(None, {**service["environment"], "SHIPPER_CONFIG": str(config)})
    assert str(settings.web.listen) == "127.0.0.1:9187"


def test_the_image_is_installed_as_the_readme_installs_a_service() -> None:
    """The very line, which tests/systemd and CI follow in their way."""
    [line, second] = tagged("sh", "install").splitlines()
    assert line in instructions()["RUN"]
    assert instructions()["COPY"] == [". ."]
    words = shlex.split(second)
    function, _, _ = build().parse_args(words[1:], exit_on_error=False, print_error=False)
    assert function is install


def test_the_drop_in_takes_away_what_needs_a_namespace() -> None:
    """And nothing else: no line of the unit is loosened that a container can keep."""
    loosened = {
        line.partition("=")[0]: line.partition("=")[2]
        for line in packaged(RELAXED).splitlines()
        if re.match(r"\w+=", line)
    }
    unit = {line.partition("=")[0] for line in packaged(UNIT).splitlines() if "=" in line}
    assert set(loosened) <= unit
    walls = {name for name in unit if re.match(r"(Protect|Private|(Load|Set)Credential)", name)}
    assert set(loosened) == walls
    assert set(loosened.values()) == {"no", "default", ""}
    assert f"systemd/{RELAXED}" in TEXT
