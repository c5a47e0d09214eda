"""Where the configuration comes from, and whose word wins."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from shipper.config import DestinationSettings, Settings, find, load, loader, show
from shipper.config.builder import Builder
from shipper.config.layers import Layers
from shipper.config.toml import Source
from shipper.errors import AccessDenied, ConfigError
from shipper.policy.backoff import Backoff

Load = Callable[..., Settings]
OrdinaryUser = Callable[[], AbstractContextManager[None]]


def test_the_given_file_comes_first(tmp_path: Path) -> None:
    """-c beats $SHIPPER_CONFIG, which beats ./shipper.toml; relative ones begin at the cwd."""
    (tmp_path / "shipper.toml").touch()
    environ = {"SHIPPER_CONFIG": "env.toml"}
    assert find(Path("given.toml"), environ, tmp_path) == tmp_path / "given.toml"
    assert find(None, environ, tmp_path) == tmp_path / "env.toml"
    assert find(None, {"SHIPPER_CONFIG": ""}, tmp_path) == tmp_path / "shipper.toml"


def test_the_system_file_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/etc/shipper/config.toml is taken where there is no ./shipper.toml."""
    assert Path("/etc/shipper/config.toml") == loader.SYSTEM_PATH
    monkeypatch.setattr(loader, "SYSTEM_PATH", tmp_path / "config.toml")
    (tmp_path / "config.toml").touch()
    assert find(None, {}, tmp_path / "elsewhere") == tmp_path / "config.toml"


def test_no_file_at_all_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing found is exit 78 with the command that writes one."""
    monkeypatch.setattr(loader, "SYSTEM_PATH", tmp_path / "config.toml")
    with pytest.raises(ConfigError) as caught:
        load(None, {}, tmp_path)
    assert caught.value.hint == "shipper init"
    assert caught.value.exit_status == 78


def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    """A mistyped -c is an error and never falls through to another file."""
    (tmp_path / "shipper.toml").touch()
    with pytest.raises(ConfigError, match=r"typo.toml: can't be read: .*No such file"):
        load(Path("typo.toml"), {}, tmp_path)


def test_a_path_with_a_nul_is_a_config_error(tmp_path: Path) -> None:
    """What no file can be called is reported like what isn't there."""
    with pytest.raises(ConfigError, match="can't be read"):
        load(Path("a\0b"), {}, tmp_path)


def test_a_hidden_file_is_a_matter_of_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, an_ordinary_user: OrdinaryUser
) -> None:
    """A directory that we may not enter is exit 77, not "there is no configuration"."""
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0)
    monkeypatch.setattr(loader, "SYSTEM_PATH", hidden / "config.toml")
    with an_ordinary_user(), pytest.raises(AccessDenied) as caught:
        load(None, {}, Path("/"))
    assert caught.value.exit_status == 77


def test_defaults_are_those_of_the_interface(configured: Load) -> None:
    """The least that is valid gives every documented default, durations in seconds."""
    settings = configured()
    destination = settings.destinations["default"]
    assert (destination.timeout, destination.max_in_flight, destination.max_rate) == (10, 64, 0)
    assert destination.after_dead_letter == "continue"
    assert destination.transport == "auto"
    assert destination.retry.max_attempts == 20
    assert destination.retry.backoff == Backoff(1.0, 3600.0)
    assert destination.retry.probe_backoff == Backoff(1.0, 60.0)
    assert settings.validation.mode == "envelope"
    assert (settings.retention.delivered, settings.retention.dead) == (7 * 86400, None)
    assert (settings.schedule.poll_interval, settings.schedule.windows) == (1, ())
    assert (settings.log.level, settings.log.format) == ("info", "auto")


def test_a_variable_beats_the_file(configured: Load) -> None:
    """Each kind of setting can be overridden, parsed by its own type."""
    settings = configured(
        more='timeout = "5s"\n',
        environ={
            "SHIPPER_DATABASE__URL": "postgres://shop@db/shop",
            "SHIPPER_DESTINATIONS__DEFAULT__TIMEOUT": "1m30s",
            "SHIPPER_DESTINATIONS__DEFAULT__MAX_IN_FLIGHT": "7",
            "SHIPPER_DESTINATIONS__DEFAULT__MAX_RATE": "2.5",
            "SHIPPER_DESTINATIONS__DEFAULT__RETRY__MIN_DELAY": "250ms",
            "SHIPPER_SCHEDULE__WINDOWS": '["* 8-19 * * mon-fri"]',
            "SHIPPER_RETENTION__DELIVERED": "never",
            "SHIPPER_CONFIG": "no setting",
            "SHIPPER_ANYTHING": "no setting either",
        },
    )
    destination = settings.destinations["default"]
    assert settings.database.url == "postgresql+psycopg://shop@db/shop"
    assert (destination.timeout, destination.max_in_flight, destination.max_rate) == (90, 7, 2.5)
    assert destination.retry.min_delay == 0.25
    assert settings.schedule.windows == ("* 8-19 * * mon-fri",)
    assert settings.retention.delivered is None


def test_a_variable_can_add_a_destination(configured: Load) -> None:
    """A container needs no [destinations.NAME] in its file."""
    settings = configured(
        environ={
            "SHIPPER_DESTINATIONS__SECOND_SHOP__URL": "https://api.example.com/2",
            "SHIPPER_DESTINATIONS__SECOND_SHOP__API_ID": "id-2",
        }
    )
    assert list(settings.destinations) == ["default", "second_shop"]
    assert settings.destinations["second_shop"].name == "second_shop"


def test_a_name_with_two_underscores_can_be_overridden_too(configured: Load) -> None:
    """Names may hold `__`; the variable finds the destination that the file has."""
    more = '[destinations.a__b]\nurl = "https://h/"\napi_id = "x"\n'
    settings = configured(
        more=more, environ={"SHIPPER_DESTINATIONS__A__B__RETRY__MAX_ATTEMPTS": "3"}
    )
    assert settings.destinations["a__b"].retry.max_attempts == 3


def test_a_variable_replaces_the_other_way_to_say_it(configured: Load, tmp_path: Path) -> None:
    """api_id_file in a variable wins over api_id in the file; both in one place is a fault."""
    environ = {"SHIPPER_DESTINATIONS__DEFAULT__API_ID_FILE": "id"}
    destination = configured(environ=environ).destinations["default"]
    assert destination.api_id is None
    assert destination.api_id_file == tmp_path / "id"
    with pytest.raises(ConfigError, match=r":5: destinations.default.api_id: is set, and so is"):
        configured(more='api_id_file = "id"\n')


@pytest.mark.parametrize("name", ["default_api_id", "api_id"])
def test_a_systemd_credential_is_the_api_id(configured: Load, tmp_path: Path, name: str) -> None:
    """LoadCredential=NAME_api_id, or api_id for the default destination, is found by itself."""
    (tmp_path / name).write_text("from-systemd\n")
    text = '[database]\nurl = "postgres:///shop"\n[destinations.default]\nurl = "https://h/"\n'
    settings = configured(text, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert settings.destinations["default"].read_api_id().reveal() == "from-systemd"
    assert settings.origins["destinations.default.api_id_file"] == f"credential {name}"


def test_only_the_default_destination_takes_the_plain_credential(
    configured: Load, tmp_path: Path
) -> None:
    """`api_id` must not go to an API of another name."""
    (tmp_path / "api_id").write_text("id")
    more = '[destinations.other]\nurl = "https://h/"\n'
    with pytest.raises(ConfigError, match=r":6: destinations.other.api_id or api_id_file: is miss"):
        configured(more=more, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_credentials_directory_of_somebody_else_holds_nothing(
    tmp_path: Path, an_ordinary_user: OrdinaryUser
) -> None:
    """A variable that sudo let through is not an error of its own."""
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0)
    layers = Layers(Source("x.toml", tmp_path, 0o600, {}, {}), tmp_path)
    with an_ordinary_user():
        Builder(layers, hidden, sends=True).build(DestinationSettings, ("destinations", "default"))
    assert "destinations.default.api_id or api_id_file: is missing" in [
        message for _, message in layers.mistakes
    ]


def test_who_only_looks_needs_no_secrets(tmp_path: Path) -> None:
    """They may be readable for the daemon alone; everything else is checked as ever."""
    file = tmp_path / "shipper.toml"
    text = '[database]\nurl = "postgres:///shop"\n[destinations.default]\nurl = "https://h/"\n'
    file.write_text(f'{text}[alerts]\nwebhook_url_file = "hidden"\n')
    settings = load(file, {}, tmp_path, sends=False)
    with pytest.raises(ConfigError, match="neither api_id nor api_id_file"):
        settings.destinations["default"].read_api_id()
    assert settings.alerts.webhook_url is None
    with pytest.raises(ConfigError) as caught:
        load(file, {}, tmp_path)
    assert len(caught.value.problems) == 2
    file.write_text(f'{text}api_id = "a b"\n')
    with pytest.raises(ConfigError, match="without spaces"):
        load(file, {}, tmp_path, sends=False)


def test_a_blank_credential_is_none(configured: Load, tmp_path: Path) -> None:
    """As the unit's is where nobody has put an API ID into its file yet."""
    (tmp_path / "api_id").write_text("\n")
    text = '[database]\nurl = "postgres:///shop"\n[destinations.default]\nurl = "https://h/"\n'
    with pytest.raises(ConfigError, match=r"default.api_id or api_id_file: is missing"):
        configured(text, {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_credential_stands_in_for_a_file_that_we_may_not_read(
    an_ordinary_user: OrdinaryUser,
) -> None:
    """The unit hands over root's file, and the configuration names it for whoever else asks."""
    with TemporaryDirectory() as name:  # which, unlike pytest's, others may look into
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "api_id").write_text("from-systemd\n")
        (directory / "id").write_text("from-the-file\n")
        (directory / "shipper.toml").write_text(
            '[database]\nurl = "postgres:///shop"\n'
            '[destinations.default]\nurl = "https://h/"\napi_id_file = "id"\n'
        )

        def api_id() -> str:
            environ = {"CREDENTIALS_DIRECTORY": name}
            settings = load(directory / "shipper.toml", environ)
            return settings.destinations["default"].read_api_id().reveal()

        with an_ordinary_user():
            assert api_id() == "from-the-file"
        (directory / "id").chmod(0)
        with an_ordinary_user():
            assert api_id() == "from-systemd"


def test_the_config_beats_a_credential(configured: Load, tmp_path: Path) -> None:
    """A credential is used only where nothing is configured."""
    (tmp_path / "api_id").write_text("from-systemd")
    settings = configured(environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert settings.destinations["default"].read_api_id().reveal() == "id-1"


def test_the_database_url_can_come_from_a_file(configured: Load, tmp_path: Path) -> None:
    """url_file holds the URL on one line, is found beside the config, and is named as origin."""
    (tmp_path / "url").write_text("postgres://shop:pw@db/shop\n")
    (tmp_path / "url").chmod(0o600)
    text = (
        '[database]\nurl_file = "url"\n[destinations.default]\nurl = "https://h/"\napi_id = "x"\n'
    )
    settings = configured(text)
    assert settings.database.url == "postgresql+psycopg://shop:pw@db/shop"
    assert settings.origins["database.url"] == f"{tmp_path / 'url'}:1"
    assert "pw" not in repr(settings)
    assert not settings.warnings


def test_a_wrong_url_file_is_a_fault_of_its_line(configured: Load, tmp_path: Path) -> None:
    """Its name, its absence, and what it holds are each reported with their place."""
    rest = '\n[destinations.default]\nurl = "https://h/"\napi_id = "x"\n'
    with pytest.raises(ConfigError, match=r"toml:2: database.url_file: .*can't be read: No such"):
        configured(f'[database]\nurl_file = "missing"{rest}')
    with pytest.raises(ConfigError, match=r"toml:2: database.url_file: must be the path"):
        configured(f"[database]\nurl_file = 7{rest}")
    (tmp_path / "url").write_text("mysql://root:hush@h/db")
    with pytest.raises(ConfigError, match=r"url:1: database.url: must be SQLite") as caught:
        configured(f'[database]\nurl_file = "url"{rest}')
    assert "hush" not in str(caught.value)


def test_relative_paths_begin_where_they_are_written(configured: Load, tmp_path: Path) -> None:
    """The daemon and the command line start in different directories and must mean one file."""
    text = (
        '[database]\nurl = "sqlite:///data/50% off?.db"\n'.replace("%", "%25").replace("?", "%3F")
        + '[destinations.default]\nurl = "https://h/"\napi_id_file = "id"\nca_file = "/abs/ca"\n'
    )
    settings = configured(text)
    assert settings.database.url == f"sqlite:///{tmp_path}/data/50%25 off%3F.db"
    assert settings.destinations["default"].api_id_file == tmp_path / "id"
    assert settings.destinations["default"].ca_file == Path("/abs/ca")


def test_show_names_every_value_and_where_it_came_from(configured: Load, tmp_path: Path) -> None:
    """`config show --origin`: default, file and line, or variable; never a secret."""
    settings = configured(
        more='proxy = "http://me:hush@proxy:3128"\n',
        environ={
            "SHIPPER_DATABASE__URL": "postgres://u:hush@h/db?sslpassword=hush",
            "SHIPPER_RETENTION__DEAD": "36h",
        },
    )
    rows = {name: (value, origin) for name, value, origin in show(settings)}
    file = tmp_path / "shipper.toml"
    assert rows["database.url"] == (
        "postgresql+psycopg://u:****@h/db?sslpassword=****",
        "environment SHIPPER_DATABASE__URL",
    )
    assert rows["destinations.default.api_id"] == ("****", f"{file}:5")
    assert rows["destinations.default.proxy"] == ("http://me:****@proxy:3128", f"{file}:6")
    assert rows["destinations.default.ca_file"] == ("unset", "default")
    assert rows["destinations.default.max_rate"] == ("0", "default")
    assert rows["retention.dead"] == ("1d12h", "environment SHIPPER_RETENTION__DEAD")
    assert rows["schedule.windows"] == ("[]", "default")
    assert not [row for row in rows.values() if "hush" in row[0] or "id-1" in row[0]]


def test_a_secret_that_others_can_read_is_a_warning(configured: Load, tmp_path: Path) -> None:
    """A literal api_id in a file of mode 644 is said, and is no fault."""
    assert configured().warnings == ()
    file = tmp_path / "shipper.toml"
    file.chmod(0o644)
    (warning,) = load(file, {"SHIPPER_DESTINATIONS__DEFAULT__API_ID": "other"}).warnings
    assert warning.startswith(f"{file}:5: destinations.default.api_id can be read by other users")
    file.write_text(file.read_text().replace("sqlite:////", "postgres://u:hush@"))
    file.chmod(0o640)
    assert load(file, {}).warnings == ()  # a service's group reads it
    file.chmod(0o644)
    first, _ = load(file, {}).warnings
    assert first.startswith(f"{file}:2: database.url can be read")
    assert "hush" not in first


@pytest.mark.parametrize(
    ("section", "name", "warned"),
    [
        ("destinations.default", "api_id_file", True),
        ("destinations.default", "ca_file", False),  # no secret
        ("alerts", "webhook_url_file", True),
        ("alerts", "heartbeat_url_file", True),
        ("database", "url_file", True),
    ],
)
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_a_file_of_a_secret_that_others_can_read_is_a_warning(
    configured: Load, tmp_path: Path, section: str, name: str, mode: int, *, warned: bool
) -> None:
    """As the secret itself is where it stands in the configuration; a group may read either."""
    file = tmp_path / "secret"
    file.write_text("postgres://u:hush@h/shop" if name == "url_file" else "https://hush.example/")
    file.chmod(mode)
    database = "" if name == "url_file" else 'url = "sqlite:////shop.db"'
    api_id = "" if name == "api_id_file" else 'api_id = "x"'
    text = f'[alerts]\n[database]\n{database}\n[destinations.default]\nurl = "https://h/"\n{api_id}'
    settings = configured(text.replace(f"[{section}]", f'[{section}]\n{name} = "secret"'))
    told = [warning for warning in settings.warnings if f"{file} can be read" in warning]
    assert len(told) == (warned and mode == 0o644)
    assert all(f"; chmod o= {file}" in warning and "hush" not in warning for warning in told)


def test_a_url_file_without_a_password_holds_no_secret(configured: Load, tmp_path: Path) -> None:
    """Then anybody may read it."""
    (tmp_path / "url").write_text("postgres://shop@db/shop\n")
    (tmp_path / "url").chmod(0o644)
    text = '[database]\nurl_file = "url"\n[destinations.default]\nurl = "https://h/"\napi_id = "x"'
    assert configured(text).warnings == ()


def test_a_file_that_we_may_not_read_is_exit_77(
    tmp_path: Path, an_ordinary_user: OrdinaryUser
) -> None:
    """Rights are told from mistakes, for the config file and for the secrets it names."""
    file = tmp_path / "shipper.toml"
    file.touch(mode=0)
    with (
        an_ordinary_user(),
        pytest.raises(AccessDenied, match=r"can't read the configuration .*permission denied"),
    ):
        load(file, {})


@pytest.mark.parametrize("name", ["kasse-2", "Kasse Süd", "x" * 63, "${HOSTNAME}"])
def test_a_daemon_has_a_name_for_people(configured: Load, name: str) -> None:
    """That of the machine, if it isn't given another."""
    assert configured().daemon.name == os.uname().nodename[:63]
    assert configured(more=f'[daemon]\nname = "{name}"\n').daemon.name == name
    assert configured(environ={"SHIPPER_DAEMON__NAME": name}).daemon.name == name


@pytest.mark.parametrize("name", ["", " ", "x" * 64, "a\\u0007b", "a\\nb"])
def test_a_name_that_no_line_can_show_is_refused(configured: Load, name: str) -> None:
    """It is in `status`, in the log and in the metrics."""
    with pytest.raises(ConfigError) as raised:
        configured(more=f'[daemon]\nname = "{name}"\n')
    assert "daemon.name: must be a text of 1 to 63 printable characters" in str(raised.value)
