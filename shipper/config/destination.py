"""The settings of a destination: one API, of one of two kinds.

A field has its type and bounds in its annotation, and its default beside it. `HTTP_ONLY` and
`VENDOR_ONLY` say which kind a setting belongs to. Every duration is in seconds. Only `read_api_id`
opens a file; `shipper.config.secrets` reads the other secrets.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from shipper.config.http_types import (
    HEADER_NAME,
    FileOfSecret,
    HeaderName,
    HeaderText,
    HeaderValue,
    MediaType,
    SecretFile,
    Statuses,
    Text,
)
from shipper.config.members import Entries
from shipper.config.secret import Secret, api_id, read_secret
from shipper.config.template import NAME
from shipper.config.types import ApiId, Choice, FilePath, Rate, Seconds, Whole
from shipper.config.urls import AskedUrl, DestinationUrl, ProxyUrl
from shipper.errors import ConfigError
from shipper.policy.answers import answers_of
from shipper.policy.backoff import Backoff
from shipper.policy.outcome import Answers

_MS, _MINUTE, _HOUR, _DAY = 0.001, 60.0, 3600.0, 86400.0

Validation: TypeAlias = Literal["off", "envelope", "schema"]
VALIDATIONS: Final = ("off", "envelope", "schema")

HTTP_ONLY: Final = frozenset(
    {
        "method",
        "content_type",
        "idempotency_header",
        "validate_url",
        "headers",
        "secrets",
        "auth",
        "tls",
        "sign",
        "cloudevents",
        "answers",
    }
)
"""The settings and sections of a destination that only kind http has."""

VENDOR_ONLY: Final = frozenset({"api_id", "api_id_file"})
"""Those that only kind 8select has."""

_HEADERS: Final = Entries(
    HeaderText(), HEADER_NAME, "up to 100 letters, digits and any of !#$%&'*+-.^_`|~"
)
_SECRETS: Final = Entries(FileOfSecret(), NAME, "a-z, 0-9 and _, and begins with a letter")


def foreign_to(kind: object) -> frozenset[str]:
    """Return the settings and sections that a destination of this kind doesn't have."""
    return VENDOR_ONLY if kind == "http" else HTTP_ONLY


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """`[destinations.NAME.auth]`: how requests prove who sends them."""

    type: Annotated[
        Literal["", "bearer", "basic", "oauth2"], Choice(("bearer", "basic", "oauth2"))
    ] = ""
    """bearer needs token_file; basic user and password_file; oauth2 the rest. Empty for none."""
    token_file: Annotated[Path | None, FilePath()] = None
    """A file whose one line is the bearer token; read again when it changes."""
    user: Annotated[str, Text()] = ""
    """The user of basic authentication."""
    password_file: Annotated[Path | None, FilePath()] = None
    """A file whose one line is the user's password; read again when it changes."""
    token_url: Annotated[str, AskedUrl()] = ""
    """Where an access token is asked for, by OAuth2 client credentials (RFC 6749, 4.4)."""
    client_id: Annotated[str, Text()] = ""
    """The client's identifier at the token endpoint."""
    client_secret_file: Annotated[Path | None, FilePath()] = None
    """A file whose one line is the client's secret; read again when it changes."""
    scope: Annotated[str, Text()] = ""
    """The scopes to ask for, with a space between them; empty for none."""
    audience: Annotated[str, Text()] = ""
    """The audience to ask for; empty for none."""
    client_auth: Annotated[Literal["basic", "post"], Choice(("basic", "post"))] = "basic"
    """How the client's secret is sent: in the header, or in the body."""


@dataclass(frozen=True, slots=True)
class ClientTlsSettings:
    """`[destinations.NAME.tls]`: the client's own certificate. Both are set, or none."""

    cert_file: Annotated[Path | None, FilePath()] = None
    """The certificate and its chain (PEM); read again when it changes."""
    key_file: Annotated[Path | None, FilePath()] = None
    """Its key (PEM, without a password); read again when it changes."""


@dataclass(frozen=True, slots=True)
class SignSettings:
    """`[destinations.NAME.sign]`: a signature over each request."""

    scheme: Annotated[Literal["", "standard-webhooks"], Choice(("standard-webhooks",))] = ""
    """How requests are signed; empty for not at all."""
    secret_file: Annotated[Path | None, FilePath()] = None
    """A file with one or two lines `whsec_…`, the current secret first."""


@dataclass(frozen=True, slots=True)
class CloudEventsSettings:
    """`[destinations.NAME.cloudevents]`: the headers of CloudEvents, if a source is set."""

    source: Annotated[str, Text()] = ""
    """What the events come from, such as "/shops/42"; empty for no CloudEvents."""
    type_prefix: Annotated[str, Text()] = ""
    """What stands before the payload's type, such as "com.example."."""


@dataclass(frozen=True, slots=True)
class AnswersSettings:
    """`[destinations.NAME.answers]`: which status means what, over shipper's own table."""

    accepted: Annotated[tuple[int | str, ...], Statuses()] = ()
    """The event is delivered."""
    refused: Annotated[tuple[int | str, ...], Statuses()] = ()
    """The event's own fault: it becomes a dead letter."""
    throttled: Annotated[tuple[int | str, ...], Statuses()] = ()
    """The destination asks for a pause."""
    paused: Annotated[tuple[int | str, ...], Statuses()] = ()
    """A person has to act: the destination is paused, and probed."""
    retried: Annotated[tuple[int | str, ...], Statuses()] = ()
    """It passes: the event is tried again."""

    def table(self) -> Answers:
        """Return what each listed status means. Raises ValueError if the lists contradict."""
        return answers_of({each.name: getattr(self, each.name) for each in fields(self)})


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
    """Where the daemon sends each event: https, or http to a loopback address. For kind http a
    template, with placeholders in its path and query."""
    kind: Annotated[Literal["8select", "http"], Choice(("8select", "http"))] = "8select"
    """What the API is: that of 8SELECT, or any that takes one event in a request."""
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
    validation: Annotated[Validation | None, Choice(VALIDATIONS)] = None
    """What is checked before an event is sent; None: `[validation]` for 8select, off for http."""
    late_after: Annotated[float | None, Seconds(1.0, 366 * _DAY, never=True)] = None
    """An event that waits longer for this destination raises an alarm; nothing is given up."""
    method: Annotated[Literal["POST", "PUT", "PATCH"], Choice(("POST", "PUT", "PATCH"))] = "POST"
    """The method of a request."""
    content_type: Annotated[str, MediaType()] = "application/json"
    """What the payload is, for the receiver."""
    idempotency_header: Annotated[str, HeaderName()] = "idempotency-key"
    """The header with the event's id; empty for none."""
    validate_url: Annotated[str, DestinationUrl(can_be_empty=True)] = ""
    """Where `shipper validate --remote` sends a document, with the same placeholders as `url`;
    empty for nowhere."""
    retry: RetrySettings = field(default_factory=RetrySettings)
    """When the daemon tries again."""
    headers: Annotated[Mapping[str, HeaderValue], _HEADERS] = field(default_factory=dict)
    """`[destinations.NAME.headers]`: more headers, each a text with placeholders or a file."""
    secrets: Annotated[Mapping[str, SecretFile], _SECRETS] = field(default_factory=dict)
    """`[destinations.NAME.secrets]`: what `{secret:NAME}` stands for; read again on change."""
    auth: AuthSettings = field(default_factory=AuthSettings)
    """How requests prove who sends them."""
    tls: ClientTlsSettings = field(default_factory=ClientTlsSettings)
    """The client's own certificate."""
    sign: SignSettings = field(default_factory=SignSettings)
    """A signature over each request."""
    cloudevents: CloudEventsSettings = field(default_factory=CloudEventsSettings)
    """The headers of CloudEvents."""
    answers: AnswersSettings = field(default_factory=AnswersSettings)
    """Which status means what."""

    def has(self, member: str) -> bool:
        """Return whether a setting or section belongs to this kind of destination."""
        return member not in foreign_to(self.kind)

    def checks(self, mode: Validation) -> Validation:
        """Return what is checked before an event is sent, if `[validation]` says `mode`."""
        return self.validation or (mode if self.kind == "8select" else "off")

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
