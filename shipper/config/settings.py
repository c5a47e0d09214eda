"""The settings: one frozen class per section of the file, one field per setting.

A field has its type and bounds in its annotation, and its default beside it. The loader, `show` and
the tests of config.example.toml and of the manual read them here, so that each is written once.
Every duration is in seconds. Only the methods that read a secret again open a file.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from shipper.config.destination import (
    VALIDATIONS,
    AnswersSettings,
    AuthSettings,
    ClientTlsSettings,
    CloudEventsSettings,
    DestinationSettings,
    RetrySettings,
    SignSettings,
    Validation,
)
from shipper.config.listen import Listen, ListenAddress
from shipper.config.members import Entries, Named, members
from shipper.config.secret import Secret, read_secret
from shipper.config.time_zones import TimeZone
from shipper.config.types import (
    Choice,
    CronList,
    FilePath,
    Label,
    Seconds,
    Size,
    ValueType,
    host_name,
)
from shipper.config.urls import DatabaseUrl, HookUrl, ProxyUrl
from shipper.errors import ConfigError

__all__ = [
    "AlertSettings",
    "AnswersSettings",
    "AuthSettings",
    "ClientTlsSettings",
    "CloudEventsSettings",
    "DaemonSettings",
    "DatabaseSettings",
    "DestinationSettings",
    "LogSettings",
    "RetentionSettings",
    "RetrySettings",
    "ScheduleSettings",
    "Settings",
    "SignSettings",
    "SpaceSettings",
    "ValidationSettings",
    "WebSettings",
    "every_setting",
]

_MS, _MINUTE, _HOUR, _DAY = 0.001, 60.0, 3600.0, 86400.0


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """`[database]`: where the outbox is. Exactly one of the two is set."""

    url: Annotated[str, DatabaseUrl()] = field(repr=False)
    """The application's own database, in SQLAlchemy's form, with the driver that shipper uses."""
    url_file: Annotated[Path | None, FilePath()] = None
    """A file whose one line is the URL, for a URL with a password; read again for each login."""

    def read_url(self) -> str:
        """Return the URL. Read its file each time, because the password can change.

        Raises ConfigError if the file holds no URL, AccessDenied if this process isn't allowed to
        read it. No message shows a part of the URL.
        """
        if self.url_file is None:
            return self.url
        try:
            return DatabaseUrl().parse(read_secret(self.url_file), self.url_file.parent)
        except ValueError as error:
            raise ConfigError([f"{self.url_file}: {error}"]) from None


@dataclass(frozen=True, slots=True)
class ValidationSettings:
    """`[validation]`: what the daemon checks before it sends an event."""

    mode: Annotated[Validation, Choice(VALIDATIONS)] = "envelope"
    """off checks nothing; envelope the envelope; schema everything that the vendor documents."""


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """`[retention]`: how long rows stay in the outbox. None means for ever."""

    delivered: Annotated[float | None, Seconds(1.0, 36500 * _DAY, never=True)] = 7 * _DAY
    """How long a delivered or discarded event stays."""
    dead: Annotated[float | None, Seconds(1.0, 36500 * _DAY, never=True)] = None
    """How long a dead letter stays."""


@dataclass(frozen=True, slots=True)
class SpaceSettings:
    """`[space]`: room on the disk."""

    budget: Annotated[int | None, Size(10**6, 10**15)] = None
    """How many bytes the outbox is allowed to take. More raises an alarm; nothing is dropped."""
    reserve: Annotated[int, Size(0, 10**9)] = 16 * 10**6
    """The bytes of the reserve file, from which deliveries are recorded on a full disk; 0: none."""


@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """`[schedule]`: when the daemon looks and sends."""

    poll_interval: Annotated[float, Seconds(10 * _MS, _HOUR)] = 1.0
    """How often the daemon looks at least. New events normally wake it at once."""
    windows: Annotated[tuple[str, ...], CronList()] = ()
    """Cron expressions of the minutes in which events are sent; an empty tuple means always."""
    timezone: Annotated[str, TimeZone()] = "UTC"
    """The time zone of the windows, by its name in the tz database."""


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """`[daemon]`: this daemon among the others of its outbox."""

    name: Annotated[str, Label()] = field(default_factory=host_name)
    """What people call this daemon. Nothing depends on it, so two can have the same."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """`[log]`: what the daemon logs, and in which format."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Choice(("debug", "info", "warning", "error")),
    ] = "info"
    """The least important level that is written."""
    format: Annotated[
        Literal["auto", "console", "json", "journal"],
        Choice(("auto", "console", "json", "journal")),
    ] = "auto"
    """auto: console on a terminal, journal under systemd, otherwise json."""


@dataclass(frozen=True, slots=True)
class WebSettings:
    """`[web]`: the local HTTP port, for metrics and health checks."""

    listen: Annotated[ListenAddress | None, Listen()] = None
    """A loopback address and a port, or a Unix socket; None means no port."""


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """`[alerts]`: where alerts go, and what raises an alarm."""

    heartbeat_url: Annotated[Secret | None, HookUrl()] = None
    """Requested (GET) regularly while everything works. A monitor alerts when the requests stop."""
    heartbeat_url_file: Annotated[Path | None, FilePath()] = None
    """A file whose one line is that URL."""
    heartbeat_every: Annotated[float, Seconds(1.0, _DAY)] = _MINUTE
    """The time between two heartbeats."""
    webhook_url: Annotated[Secret | None, HookUrl()] = None
    """Receives a POST when an alarm begins, goes on, or ends."""
    webhook_url_file: Annotated[Path | None, FilePath()] = None
    """A file whose one line is that URL."""
    oldest_pending: Annotated[float | None, Seconds(1.0, 366 * _DAY, never=True)] = _HOUR
    """An event that waits longer raises an alarm."""
    disk_free: Annotated[int, Size(0, 10**15)] = 10**9
    """Fewer free bytes on the disk of an SQLite outbox raise an alarm; 0: never."""
    ca_file: Annotated[Path | None, FilePath()] = None
    """Certificates (PEM) to trust beside the system's."""
    proxy: Annotated[str | None, ProxyUrl()] = field(default=None, repr=False)
    """The HTTP proxy to use."""

    def renewed(self) -> "AlertSettings":
        """Return these settings with the present content of the files.

        Raises ConfigError if a file holds no URL, AccessDenied if this process isn't allowed to
        read it. No message shows a part of a URL.
        """
        return replace(
            self,
            heartbeat_url=_again(self.heartbeat_url, self.heartbeat_url_file),
            webhook_url=_again(self.webhook_url, self.webhook_url_file),
        )


def _again(url: Secret | None, file: Path | None) -> Secret | None:
    if file is None:
        return url
    try:
        return HookUrl().parse(read_secret(file), file.parent)
    except ValueError as error:
        raise ConfigError([f"{file}: {error}"]) from None


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration, and the origin of each value."""

    database: DatabaseSettings
    destinations: Annotated[Mapping[str, DestinationSettings], Named(DestinationSettings)]
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    space: SpaceSettings = field(default_factory=SpaceSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    daemon: DaemonSettings = field(default_factory=DaemonSettings)
    log: LogSettings = field(default_factory=LogSettings)
    web: WebSettings = field(default_factory=WebSettings)
    alerts: AlertSettings = field(default_factory=AlertSettings)
    path: Path | None = None
    """The file that was read."""
    warnings: tuple[str, ...] = ()
    """What is allowed but unwise."""
    origins: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The origin of each value by its dotted name. A setting that isn't listed has its default."""


def every_setting(
    shape: type = Settings, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], ValueType]]:
    """Yield the path and the type of every setting. `*` stands for the name of a destination.

    The entries of tables with free names aren't among them.
    """
    for name, member in members(shape).items():
        path = (*above, name)
        if isinstance(member, ValueType):
            yield path, member
        elif isinstance(member, Named):
            yield from every_setting(member.shape, (*path, "*"))
        elif not isinstance(member, Entries):
            yield from every_setting(member, path)
