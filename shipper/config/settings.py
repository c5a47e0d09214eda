"""The settings: one frozen class per section of the file, one field per setting.

A field has its type and bounds in its annotation, and its default beside it. The loader, `show` and
the tests of config.example.toml and of the manual read them here, so that each is written once.
Every duration is in seconds. Only the methods that read a secret again open a file.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple, get_args, get_origin, get_type_hints

from shipper.config.listen import Listen, ListenAddress
from shipper.config.secret import Secret, api_id, read_secret
from shipper.config.time_zones import TimeZone
from shipper.config.types import (
    ApiId,
    Choice,
    CronList,
    FilePath,
    Label,
    Rate,
    Seconds,
    Size,
    ValueType,
    Whole,
    host_name,
)
from shipper.config.urls import DatabaseUrl, DestinationUrl, HookUrl, ProxyUrl
from shipper.errors import ConfigError
from shipper.policy.backoff import Backoff

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
class RetrySettings:
    """`[destinations.NAME.retry]`: when the daemon tries again."""

    min_delay: Annotated[float, Seconds(_MS, _HOUR)] = 1.0
    """The shortest wait. The longest possible wait doubles with every failure."""
    max_delay: Annotated[float, Seconds(_MS, 7 * _DAY)] = _HOUR
    """The longest wait of an event."""
    max_attempts: Annotated[int, Whole(1, 1000)] = 20
    """How many failures that are charged to an event make it a dead letter."""
    probe_max_delay: Annotated[float, Seconds(_MS, _HOUR)] = _MINUTE
    """The longest wait between two probes of a link that is offline or paused."""

    @property
    def backoff(self) -> Backoff:
        """Return the bounds of the wait of an event."""
        return Backoff(self.min_delay, self.max_delay)

    @property
    def probe_backoff(self) -> Backoff:
        """Return the bounds of the wait between probes."""
        return Backoff(self.min_delay, self.probe_max_delay)


@dataclass(frozen=True, slots=True)
class DestinationSettings:
    """`[destinations.NAME]`: one API. At most one of `api_id` and `api_id_file` is set."""

    name: str
    url: Annotated[str, DestinationUrl()]
    """Where the daemon POSTs each event: https, or http to a loopback address."""
    api_id: Annotated[Secret | None, ApiId()] = None
    """The API ID itself."""
    api_id_file: Annotated[Path | None, FilePath()] = None
    """A file whose one line is the API ID; read again when it changes."""
    timeout: Annotated[float, Seconds(100 * _MS, 10 * _MINUTE)] = 10.0
    """How long one try can take, from its beginning to the end of the answer."""
    max_in_flight: Annotated[int, Whole(1, 1024)] = 64
    """How many events can be in flight at once."""
    max_rate: Annotated[float, Rate(100_000)] = 0.0
    """Requests per second; 0 means no limit."""
    after_dead_letter: Annotated[Literal["continue", "hold"], Choice(("continue", "hold"))] = (
        "continue"
    )
    """Whether a key goes on after a dead letter, or waits for an operator."""
    ca_file: Annotated[Path | None, FilePath()] = None
    """Certificates (PEM) to trust beside the system's."""
    proxy: Annotated[str | None, ProxyUrl()] = field(default=None, repr=False)
    """The HTTP proxy to use. The daemon never uses a proxy of the environment."""
    transport: Annotated[Literal["auto", "httpx"], Choice(("auto", "httpx"))] = "auto"
    """The HTTP client; auto is shipper's own if there is no proxy."""
    retry: RetrySettings = field(default_factory=RetrySettings)
    """When the daemon tries again."""

    def read_api_id(self) -> Secret:
        """Return the API ID. Read its file each time, because it can change.

        Raises ConfigError if no API ID that fits into a header is set, AccessDenied if this process
        isn't allowed to read the file. No message shows a part of the API ID.
        """
        if self.api_id is not None:
            return self.api_id
        if self.api_id_file is None:
            raise ConfigError([f"destinations.{self.name}: neither api_id nor api_id_file is set"])
        try:
            return api_id(read_secret(self.api_id_file))
        except ValueError as error:
            file, missing = self.api_id_file, error.__context__
            if isinstance(missing, FileNotFoundError):
                problem, how = f"can't read {file}: {missing.strerror}", "mode 0600"
            else:
                problem, how = f"{file} {error}", "on one line"
            raise ConfigError(
                [f"the API ID of destination {self.name}: {problem}"],
                f"put the API ID into {file}, {how}",
            ) from None


@dataclass(frozen=True, slots=True)
class ValidationSettings:
    """`[validation]`: what the daemon checks before it sends an event."""

    mode: Annotated[Literal["off", "envelope", "schema"], Choice(("off", "envelope", "schema"))] = (
        "envelope"
    )
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


class Named(NamedTuple):
    """A table of tables: a section of this shape under each name."""

    shape: type


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


Member = ValueType | Named | type


@cache  # reading annotations takes longer than the rest of a load
def members(shape: type) -> Mapping[str, Member]:
    """Return the members of a section: a type for a value, `Named` or a class for a table."""
    found: dict[str, Member] = {}
    for name, hint in get_type_hints(shape, include_extras=True).items():
        if get_origin(hint) is Annotated:
            found[name] = get_args(hint)[1]
        elif isinstance(hint, type) and is_dataclass(hint):
            found[name] = hint
    return MappingProxyType(found)


def every_setting(
    shape: type = Settings, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], ValueType]]:
    """Yield the path and the type of every setting. `*` stands for the name of a destination."""
    for name, member in members(shape).items():
        path = (*above, name)
        if isinstance(member, ValueType):
            yield path, member
        elif isinstance(member, Named):
            yield from every_setting(member.shape, (*path, "*"))
        else:
            yield from every_setting(member, path)
