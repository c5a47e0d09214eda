"""What to do about a destination that fails: it fits the configuration that it is given for."""

from pathlib import Path
from typing import get_args

import pytest

from shipper.advice import down, failed, hint, place_of, said, unknown_destination, where_of
from shipper.config import DatabaseSettings, DestinationSettings, Secret, Settings
from shipper.config.http_types import SecretFile
from shipper.policy.outcome import FaultKind

URL = "https://api.example/secret-path?k=secret"
IDLE = {"http-408", "http-425", "http-429", "http-503", "http-500", "http-502", "http-504"}


def settings(destination: DestinationSettings, **more: object) -> Settings:
    """Return settings with one destination."""
    database = DatabaseSettings("sqlite:////x.db")
    path = Path("/etc/shipper/config.toml")
    named = {destination.name: destination}
    return Settings(database, named, path=path, **more)  # type: ignore[arg-type]


def of(error: str, destination: DestinationSettings | None = None, **more: object) -> str | None:
    """Return the advice for an error."""
    destination = destination or DestinationSettings("shop", URL, api_id=Secret("x"))
    return hint(error, place_of(destination, settings(destination, **more)))


@pytest.mark.parametrize(
    "cause",
    [*get_args(FaultKind), "portal", "everything is refused"]
    + [
        f"http-{n}"
        for n in (301, 302, 307, 308, 401, 403, 404, 405, 407, 410, 418, 422, 421, 451, 511)
    ],
)
def test_what_stops_a_destination_has_something_to_do(cause: str) -> None:
    """Which names a file, a host or a command, and nothing that is secret."""
    told = of(f"{cause}: whatever")
    assert told is not None
    assert "secret" not in told
    assert "{" not in told


@pytest.mark.parametrize("cause", sorted(IDLE))
def test_what_only_the_api_can_fix_has_no_advice(cause: str) -> None:
    """Nothing is better than a comfort that looks like a command."""
    assert of(f"{cause}: whatever") is None


def test_advice_on_an_api_id_fits_where_it_comes_from() -> None:
    """A file, the configuration, the environment, or what systemd hands over."""
    in_file = DestinationSettings("shop", URL, api_id_file=Path("/etc/shipper/api_id"))
    inline = DestinationSettings("shop", URL, api_id=Secret("x"))
    assert "into /etc/shipper/api_id; a running daemon notices it" in str(of("http-401", in_file))
    credential = {"destinations.shop.api_id_file": "credential api_id"}
    assert "restart shipper" in str(of("http-401", in_file, origins=credential))
    assert "[destinations.shop] of /etc/shipper/config.toml" in str(of("http-401", inline))
    environment = {"destinations.shop.api_id": "environment SHIPPER_DESTINATIONS__SHOP__API_ID"}
    told = of("http-401", inline, origins=environment)
    assert "$SHIPPER_DESTINATIONS__SHOP__API_ID" in str(told)
    assert "api_id_file" in str(of("http-401", DestinationSettings("shop", URL)))


def test_advice_on_any_http_api_names_what_it_has_in_place_of_an_api_id() -> None:
    """The one file, all files, or the section for headers; there is no API ID."""

    def named(**files: str) -> DestinationSettings:
        secrets = {name: SecretFile(Path(file)) for name, file in files.items()}
        return DestinationSettings("erp", URL, kind="http", secrets=secrets)

    section = "[destinations.erp] of /etc/shipper/config.toml"
    for cause in ("http-401", "http-403"):
        assert f"in the section headers below {section}" in str(of(cause, named()))
        assert "put the right secret into /k; a running" in str(of(cause, named(a="/k", b="/k")))
        assert f"secret of {section} is wrong (/a, /b)" in str(of(cause, named(a="/a", b="/b")))
        assert "(/1, /2, /3, …)" in str(of(cause, named(a="/1", b="/2", c="/3", d="/4")))
        assert "API ID" not in str(of(cause, named(a="/a")))


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("https://api.example/x", "api.example:443"),
        ("http://127.0.0.1/x", "127.0.0.1:80"),
        ("http://127.0.0.1:8123/x", "127.0.0.1:8123"),
        ("http://[::1]:8123/x", "[::1]:8123"),
        ("https://user:pw@api.example:8443/x", "api.example:8443"),
    ],
)
def test_host_and_port_are_always_said(url: str, where: str) -> None:
    """And never a path, or who logs in."""
    assert where_of(url) == where


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("refused: nothing listens at h:1", "nothing listens at h:1"),
        ("http-401: HTTP 401", "HTTP 401"),
        ("http-401: HTTP 401 (h:1)", "HTTP 401 (h:1)"),
        ("http-404: nothing answers at this path", "HTTP 404: nothing answers at this path"),
        ("http-404: HTTP 404: nothing there", "HTTP 404: nothing there"),
        ("http-4011: odd", "http-4011: odd"),
        ("everything is refused", "everything is refused"),
        ("held by an operator", "held by an operator"),
        ("invalid: /view: is missing", "invalid: /view: is missing"),
        ("refused", "refused"),
        ("", ""),
    ],
)
def test_a_cause_is_said_once(error: str, told: str) -> None:
    """And only where it tells more than the words behind it."""
    assert said(error) == told


@pytest.mark.parametrize(
    ("reason", "last_error", "told"),
    [
        ("http-401: no", "http-401: no (h:1)", "HTTP 401: no (h:1)"),
        ("dns: a", None, "a"),
        (None, "dns: a", "a"),
        (None, None, ""),
        ("portal: a page", "http-422: no (h:1)", "a page; the last try failed: HTTP 422: no (h:1)"),
        (
            "everything is refused",
            "http-500: the API failed (h:1)",
            "everything is refused; the last try failed: HTTP 500: the API failed (h:1)",
        ),
    ],
)
def test_why_a_link_is_down_and_how_its_last_try_failed(
    reason: str | None, last_error: str | None, told: str
) -> None:
    """Both, where they are of different causes; else the one that names the host."""
    assert down(reason, last_error) == told


def test_one_failure_and_several_have_their_grammar() -> None:
    """With the last error, where there is one."""
    assert (
        failed(1, "refused: nothing listens at h:1")
        == "the last try failed: nothing listens at h:1"
    )
    assert failed(2, None) == "the last 2 tries failed"


@pytest.mark.parametrize(
    ("name", "names", "told"),
    [
        ("defualt", ["default", "erp"], "add [destinations.defualt] to C, or send its events"),
        ("defualt", ["default", "erp"], "reroute ALL --destination defualt --to default"),
        ("nothing_like_it", ["erp", "a"], "--to a"),
        ("x", [], "--to NAME"),
        ("it's\n", ["erp"], """ALL --destination 'it'"'"'s?' --to erp"""),
    ],
)
def test_a_destination_that_nobody_knows_has_two_ways_out(
    name: str, names: list[str], told: str
) -> None:
    """And never `release`, which would refuse it."""
    assert told in unknown_destination(name, names, "C")
    assert "release" not in unknown_destination(name, names, "C")


def test_what_can_be_no_name_is_not_to_be_configured() -> None:
    """Only its events can be sent elsewhere."""
    assert unknown_destination("No Such", ["default"], "C").startswith("send its events elsewhere")
