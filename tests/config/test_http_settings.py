"""What a destination of kind http may be set to; each mistake has its line and what mends it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shipper.config import Settings, load, show
from shipper.config.http_rules import RESERVED
from shipper.config.http_types import HeaderValue
from shipper.config.secrets import files, read_secrets
from shipper.errors import AccessDenied, ConfigError
from shipper.policy.outcome import Kind

Load = Callable[..., Settings]

HTTP = """\
[database]
url = "postgres:///x"
[destinations.erp]
url = "https://erp.example/hook"
kind = "http"
"""


def problems(configured: Load, more: str, text: str = HTTP) -> list[str]:
    """Return the problems of a load, without the directory; line 6 is the first of `more`."""
    with pytest.raises(ConfigError) as caught:
        configured(text + more)
    assert caught.value.exit_status == 78
    return [problem.rpartition("/shipper.toml:")[2] for problem in caught.value.problems]


def secret(directory: Path, text: str = "hush", mode: int = 0o600, name: str = "key") -> Path:
    """Write a file with a secret."""
    file = directory / name
    file.write_text(text)
    file.chmod(mode)
    return file


def test_a_destination_of_kind_http_needs_a_url_and_nothing_else(configured: Load) -> None:
    """No API ID above all."""
    erp = configured(HTTP).destinations["erp"]
    assert (erp.kind, erp.method, erp.content_type) == ("http", "POST", "application/json")
    assert (erp.idempotency_header, erp.validate_url) == ("idempotency-key", "")
    assert (erp.late_after, read_secrets(erp).all()) == (None, ())


def test_everything_at_once(configured: Load, tmp_path: Path) -> None:
    """Each setting with another value than its default."""
    secret(tmp_path)
    erp = configured(
        HTTP
        + """\
method = "PATCH"
content_type = "application/cloudevents+json; charset=utf-8"
idempotency_header = ""
validation = "schema"
validate_url = "https://erp.example/check?{event_id}"
late_after = "48h"
[destinations.erp.headers]
X-Tenant = "42"
authorization = "Token {secret:key}"
x-key = { file = "key" }
[destinations.erp.secrets.key]
file = "key"
[destinations.erp.answers]
accepted = 409
retried = ["3xx", 404]
"""
    ).destinations["erp"]
    assert (erp.method, erp.late_after, erp.checks("off")) == ("PATCH", 172800.0, "schema")
    assert erp.headers["X-Tenant"] == HeaderValue(text="42")
    assert files(erp) == (tmp_path / "key",)
    secrets = read_secrets(erp)
    assert (secrets.headers, secrets.named) == ({"x-key": "hush"}, {"key": "hush"})
    assert erp.answers.table()[409] is Kind.ACCEPTED
    assert erp.answers.table()[302] is Kind.TRANSIENT


@pytest.mark.parametrize(("kind", "mode", "checked"), [
    ("8select", "schema", "schema"), ("8select", "off", "off"), ("http", "schema", "off"),
])  # fmt: skip
def test_what_is_validated_depends_on_the_kind(
    configured: Load, kind: str, mode: str, checked: str
) -> None:
    """[validation] speaks of the vendor's events; `validation` wins for either kind."""
    more = f'[validation]\nmode = "{mode}"\n'
    text = HTTP if kind == "http" else HTTP.replace('kind = "http"', 'api_id = "x"')
    settings = configured(text + more)
    assert settings.destinations["erp"].checks(settings.validation.mode) == checked
    envelope = configured(f'{text}validation = "envelope"\n{more}').destinations["erp"]
    assert envelope.checks(settings.validation.mode) == "envelope"


@pytest.mark.parametrize("header", sorted(RESERVED | {"Host", "TE", "Transfer-Encoding"}))
def test_a_header_of_the_connection_is_refused(configured: Load, header: str) -> None:
    """It would break every request, or smuggle one in."""
    told = f"7: destinations.erp.headers.{header}: is a header that shipper sets itself; remove it"
    assert problems(configured, f'[destinations.erp.headers]\n{header} = "x"\n') == [told]
    told = "6: destinations.erp.idempotency_header: is a header that shipper sets itself; remove it"
    assert problems(configured, f'idempotency_header = "{header}"\n') == [told]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            '[destinations.erp.headers]\nx-a = "1"\nX-A = "2"\n',
            "8: destinations.erp.headers.X-A: this header is set twice, here and by headers.x-a",
        ),
        (
            '[destinations.erp.headers]\nIdempotency-Key = "1"\n',
            ("7: destinations.erp.headers.Idempotency-Key: this header is set twice, here and by"
            " idempotency_header"),
        ),
        (
            '[destinations.erp.headers]\nContent-Type = "text/xml"\n',
            ("7: destinations.erp.headers.Content-Type: has a setting of its own: set content_type"
            " instead"),
        ),
        (
            '[destinations.erp.headers]\n"x y" = "1"\n',
            "7: destinations.erp.headers.'x y': a name is made of up to 100 letters, digits and -",
        ),
        (
            'url = "https://{type}.example/"\n',
            ("4: destinations.erp.url: can have placeholders in its path and query only, not in its"
            " host or port"),
        ),
        (
            'url = "https://erp.example:{type}/"\n',
            "4: destinations.erp.url: must be a URL like https://host/path",
        ),
        (
            'url = "{type}://erp.example/"\n',
            "4: destinations.erp.url: must be a URL like https://host/path",
        ),
        (
            'url = "https://erp.example/{order.id}"\n',
            ("4: destinations.erp.url: holds an unknown placeholder: there are {event_id},"
            " {ordering_key}, {type}, {destination}, {secret:NAME}; write {{ and }} for braces"),
        ),
        (
            'url = "https://erp.example/{"\n',
            "4: destinations.erp.url: has a lone {: write {{ for the character itself",
        ),
        (
            'url = "https://erp.example/a/../{type}"\n',
            "4: destinations.erp.url: must not have . or .. in its path",
        ),
        (
            'url = "https://erp.example/?k={secret:hook}"\n',
            ("4: destinations.erp.url: names the secret hook: set hook = { file = \"…\" }"
            " in [destinations.erp.secrets]"),
        ),
        (
            '[destinations.erp.headers]\nx-k = "{secret:hook}"\n',
            ("7: destinations.erp.headers.x-k: names the secret hook: set hook = { file = \"…\" }"
            " in [destinations.erp.secrets]"),
        ),
        (
            'validate_url = "https://debug.example/"\n',
            "6: destinations.erp.validate_url: must begin as url does, with the same host and port",
        ),
        (
            'validate_url = "https://erp.example/{id}"\n',
            ("6: destinations.erp.validate_url: holds an unknown placeholder: there are {event_id},"
            " {ordering_key}, {type}, {destination}, {secret:NAME}; write {{ and }} for braces"),
        ),
        (
            "[destinations.erp.answers]\naccepted = [409]\nretried = ['4xx']\n",
            ("6: destinations.erp.answers: 409 is in accepted and in retried: take it out of one of"
            " them"),
        ),
        (
            "[destinations.erp.answers]\nrefused = [401]\n",
            ("6: destinations.erp.answers: 401 can't be in refused, also not as one of a class: it"
            " is never the fault of one event"),
        ),
        (
            "[destinations.erp.answers]\naccepted = [100]\n",
            ("7: destinations.erp.answers.accepted: must be a list of status codes from 200 to 599,"
            ' or of classes like "5xx", not 100'),
        ),
        (
            'api_id = "x"\n',
            '6: destinations.erp.api_id: only a destination with kind = "8select" has it',
        ),
        (
            'kind = "shipper"\n',
            '5: destinations.erp.kind: must be one of 8select, http, not "shipper"',
        ),
        (
            'method = "GET"\n',
            '6: destinations.erp.method: must be one of POST, PUT, PATCH, not "GET"',
        ),
        (
            'content_type = "json"\n',
            ('6: destinations.erp.content_type: must be a content type like "application/json", not'
            ' "json"'),
        ),
        (
            'idempotency_header = "x y"\n',
            ('6: destinations.erp.idempotency_header: must be the name of a header, or "" for none,'
            ' not "x y"'),
        ),
        (
            '[destinations.erp.secrets]\nhook = "hush"\n',
            ("7: destinations.erp.secrets.hook: must be { file = \"/path\" }: a secret has a file"
            " of its own"),
        ),
        (
            "[destinations.erp.secrets]\nHook = { file = 'x' }\n",
            ("7: destinations.erp.secrets.Hook: a name is made of a-z, 0-9 and _, and begins with a"
            " letter"),
        ),
    ],
)  # fmt: skip
def test_each_mistake_has_its_line_and_its_fix(configured: Load, more: str, told: str) -> None:
    """A setting that the beginning has is replaced there."""
    text = HTTP
    for line in HTTP.splitlines()[3:]:  # the two that the beginning has
        if more.startswith(line.partition(" = ")[0] + " = "):
            text, more = HTTP.replace(f"{line}\n", more), ""
    assert problems(configured, more, text) == [told]


@pytest.mark.parametrize(
    "value",
    ['"a\\r\\nb"', '"a\\nb"', '"a\\u0000b"', '"Größe"', '" a"', '"a "', '""', "7", "true", "[]",
     '"\\u007f"', '{ file = "" }', "{ file = 7 }", "{}", '{ file = "x", mode = 1 }',
     '{ path = "x" }', '{ file = "a\\nb" }'],
)  # fmt: skip
def test_a_value_that_fits_no_header_is_refused_unseen(configured: Load, value: str) -> None:
    """CR, LF and NUL above all: the rest would be a header of its own."""
    [problem] = problems(configured, f"[destinations.erp.headers]\nx-hush = {value}\n")
    assert problem.startswith("7: destinations.erp.headers.x-hush: must be { file = ")
    assert "Größe" not in problem


@pytest.mark.parametrize("setting", [
    'method = "PUT"', 'content_type = "a/b"', 'idempotency_header = ""', 'validate_url = "https://h/"',
    'headers = { x-a = "1" }', 'secrets = { a = { file = "x" } }', "answers = { accepted = [409] }",
])  # fmt: skip
def test_the_vendors_kind_has_none_of_it(configured: Load, setting: str) -> None:
    """What it would mean there is fixed by the vendor."""
    text = HTTP.replace('kind = "http"', 'api_id = "x"')
    for problem in problems(configured, f"{setting}\n", text):
        assert problem.startswith(f"6: destinations.erp.{setting.partition(' =')[0]}")
        assert problem.endswith('only a destination with kind = "http" has it')


# -- the files of secrets --------------------------------------------------------------------------

FILED = '[destinations.erp.headers]\nx-key = { file = "key" }\n'


def test_a_secret_that_others_can_read_is_refused(configured: Load, tmp_path: Path) -> None:
    """With the line that names it and the command that mends it; a group's right is a decision."""
    file = secret(tmp_path, mode=0o604)
    assert problems(configured, FILED) == [
        f"7: destinations.erp.headers.x-key: {file} can be read by other users; chmod o= {file}"
    ]
    file.chmod(0o640)
    assert configured(HTTP + FILED).warnings == ()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is empty"),
        ("\n", "is empty"),
        ("hush\nhush", "must be visible ASCII on one line, with no space at its beginning or end"),
        ("hush\0", "must be visible ASCII on one line"),
        (" hush", "must be visible ASCII on one line"),
        ("hüsh", "must be visible ASCII on one line"),
        ("x" * 5000, "must be visible ASCII on one line"),
        ("x" * 70_000, "is too long to be a secret"),
    ],
)
def test_a_secret_that_can_not_be_sent_is_refused_unseen(
    configured: Load, tmp_path: Path, content: str, told: str
) -> None:
    """When the configuration is read, and when the file changes."""
    file = secret(tmp_path)
    erp = configured(HTTP + FILED).destinations["erp"]
    secret(tmp_path, content)
    [problem] = problems(configured, FILED)
    assert problem.startswith(f"7: destinations.erp.headers.x-key: {file} {told}")
    with pytest.raises(ConfigError, match="put the secret into") as caught:
        raise ConfigError(*_refusal(erp))
    assert told in caught.value.message
    assert "hush" not in caught.value.message


def _refusal(erp: object) -> tuple[list[str], str]:
    with pytest.raises(ConfigError) as caught:
        read_secrets(erp)  # type: ignore[arg-type]
    assert caught.value.hint is not None
    return [*caught.value.problems, caught.value.hint], caught.value.hint


def test_a_missing_file_is_refused_with_its_line(configured: Load, tmp_path: Path) -> None:
    """A command that sends nothing doesn't need it."""
    [problem] = problems(configured, FILED)
    assert problem == (
        f"7: destinations.erp.headers.x-key: {tmp_path / 'key'} can't be read: No such file or"
        " directory"
    )
    assert load(tmp_path / "shipper.toml", {}, sends=False).destinations["erp"].kind == "http"


def test_a_file_without_the_right_to_read_it_is_77(
    configured: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with every other file: the daemon's user may have the right."""

    def denied() -> None:
        raise PermissionError

    text = HTTP + FILED
    secret(tmp_path)
    configured(text)
    opened = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda path, *a, **n: denied() if path.name == "key" else opened(path, *a, **n),
    )
    with pytest.raises(AccessDenied, match=r"toml:7: destinations.erp.headers.x-key: can't"):
        configured(text)


# -- what is shown ---------------------------------------------------------------------------------


def test_no_secret_is_shown(configured: Load, tmp_path: Path) -> None:
    """Of a header or a parameter whose name says that it is one, and of every file."""
    secret(tmp_path)
    settings = configured(
        HTTP.replace("/hook", "/{type}?v=2&api_secret=hush&k={secret:key}&token=&sig={secret:key}")
        + 'validate_url = "https://erp.example/?access_token=hush"\n[destinations.erp.headers]\n'
        + 'x-api-key = "hush"\nx-tenant = "42"\nx-key = { file = "key" }\n'
        + 'x-token = "hu{{sh {event_id}"\nauthorization = "Bearer {secret:key}"\n'
        + "[destinations.erp.secrets]\nkey = { file = 'key' }\n"
    )
    shown = {name.removeprefix("destinations.erp."): value for name, value, _ in show(settings)}
    assert "hush" not in str(shown)
    assert "hush" not in repr(settings.destinations["erp"].headers)
    assert shown["url"] == (
        "https://erp.example/{type}?v=2&api_secret=****&k={secret:key}&token=&sig={secret:key}"
    )
    assert shown["validate_url"] == "https://erp.example/?access_token=****"
    assert shown["headers.x-api-key"] == "****"
    assert shown["headers.x-tenant"] == "42"
    assert shown["headers.x-token"] == "****"
    assert shown["headers.authorization"] == "Bearer {secret:key}"
    assert shown["headers.x-key"] == f'{{ file = "{tmp_path / "key"}" }}'
    assert shown["secrets.key"] == shown["headers.x-key"]
    assert "api_id" not in shown
    secrets = read_secrets(settings.destinations["erp"])
    assert set(secrets.all()) == {"hush", "hu{sh"}
    assert "hush" not in repr(secrets)


def test_the_vendors_kind_shows_none_of_it(configured: Load) -> None:
    """`config show` of today's configurations stays as short as it is."""
    names = {name.split(".")[2] for name, _, _ in show(configured()) if name.startswith("dest")}
    assert names.isdisjoint({"method", "headers", "secrets", "answers", "content_type"})
    assert {"kind", "api_id", "validation", "late_after"} <= names


@pytest.mark.parametrize(
    ("line", "warned"),
    [
        ('headers = { x-api-key = "hush" }', "headers.x-api-key"),
        ('headers = { x-api-key = "Bearer {secret:key}" }\nsecrets.key.file = "key"', None),
        ('headers = { x-tenant = "hush" }', None),
        ('validate_url = "https://erp.example/?password=hush"', "validate_url"),
        ('validate_url = "https://erp.example/?v=hush"', None),
    ],
)
def test_a_secret_in_a_configuration_that_others_can_read_is_a_warning(
    configured: Load, tmp_path: Path, line: str, warned: str | None
) -> None:
    """By the name of the header or the parameter."""
    secret(tmp_path)
    assert configured(f"{HTTP}{line}\n").warnings == ()
    file = tmp_path / "shipper.toml"
    file.chmod(0o644)
    warnings = load(file, {}).warnings
    assert [f"erp.{warned} can be read by other users" in each for each in warnings] == (
        [True] if warned else []
    )
    assert "hush" not in str(warnings)


@pytest.mark.parametrize("section", ["headers", "secrets"])
def test_a_broken_line_among_secrets_is_not_quoted(configured: Load, section: str) -> None:
    """Their names are free, so that one can be that of a setting."""
    [problem] = problems(configured, f"[destinations.erp.{section}]\ntimeout = hush\n")
    assert problem.startswith("7: broken TOML")
    assert "hush" not in problem
    assert "hush" in str(problems(configured, "timeout = hush\n"))


# -- the environment -------------------------------------------------------------------------------


def test_plain_values_have_a_variable(configured: Load) -> None:
    """A list may be written as in TOML, or without its brackets."""
    erp = configured(
        HTTP,
        {
            "SHIPPER_DESTINATIONS__ERP__METHOD": "PUT",
            "SHIPPER_DESTINATIONS__ERP__IDEMPOTENCY_HEADER": "",
            "SHIPPER_DESTINATIONS__ERP__LATE_AFTER": "48h",
            "SHIPPER_DESTINATIONS__ERP__ANSWERS__ACCEPTED": '[409, "3xx"]',
            "SHIPPER_DESTINATIONS__ERP__ANSWERS__RETRIED": "404",
        },
    ).destinations["erp"]
    assert (erp.method, erp.idempotency_header, erp.late_after) == ("PUT", "", 172800.0)
    assert (erp.answers.accepted, erp.answers.retried) == ((409, "3xx"), (404,))


def test_a_variable_can_make_a_destination_one_of_any_api(configured: Load) -> None:
    """All of it from the environment, as containers like it."""
    erp = configured(
        '[database]\nurl = "postgres:///x"\n',
        {
            "SHIPPER_DESTINATIONS__ERP__KIND": "http",
            "SHIPPER_DESTINATIONS__ERP__URL": "https://erp.example/{type}",
        },
    ).destinations["erp"]
    assert (erp.kind, erp.url) == ("http", "https://erp.example/{type}")
    with pytest.raises(
        ConfigError, match=r"SHIPPER_DESTINATIONS__ERP__API_ID: .* only a destination"
    ):
        configured(HTTP, {"SHIPPER_DESTINATIONS__ERP__API_ID": "x"})
