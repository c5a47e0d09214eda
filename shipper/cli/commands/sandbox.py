"""`shipper sandbox`: run a local stand-in for an API until it is stopped.

It must never print a secret that it was given.
"""

import asyncio
import json
import signal
import ssl
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from shipper.cli.commands.run import run_loop
from shipper.cli.input.arguments import Duration
from shipper.cli.output.context import Context
from shipper.contract.validation import Mode
from shipper.errors import UsageError
from shipper.sandbox import (
    FETCH_PATH,
    AnyApi,
    Chaos,
    OAuthClient,
    Sandbox,
    Summary,
    run_sandbox,
    secret_key,
    server_context,
)
from shipper.wording.quantities import count, several

_EXAMPLE = (
    '{"type":"view","view":{"type":"customSet","customSet":{"id":"set-1"}},'
    '"context":[{"type":"user","user":{"id":"user-1"}}]}'
)


# How long a token of the OAuth2 server lasts, in seconds.
_TOKEN_LIFE = 300.0
_Text = Annotated[str, Parameter(show_default=False)]


def sandbox(  # noqa: PLR0913 - one for each option
    *,
    kind: Literal["8select", "http"] = "8select",
    host: str = "127.0.0.1",
    port: int = 8808,
    api_id: str | None = None,
    chaos: _Text = "",
    validation: Mode = "schema",
    log: Path | None = None,
    bearer: _Text = "",
    basic: _Text = "",
    client: _Text = "",
    token_life: Duration = None,
    sign_secret: _Text = "",
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    client_ca: Path | None = None,
    context: Context,
) -> None:
    """Run a local stand-in for the vendor's API, with its validation, and with faults on purpose.

    With --kind http it stands in for any HTTP API: every path takes POST, PUT and
    PATCH, and an event is any body. It checks what the options --bearer, --basic,
    --client and --sign-secret ask for.

    It runs until SIGINT or SIGTERM, then prints a summary of the requests. With
    --json the first line on stdout says where it listens, the last one is the
    summary.

    Parameters
    ----------
    kind
        What it stands in for: the vendor's API, or any HTTP API.
    host
        The address to listen on.
    port
        The port to listen on; 0 takes any free port.
    api_id
        The API ID that requests must have. Default: it accepts any.
    chaos
        Faults, like 503:0.1,drop:0.05,outage:10s@30s/60s (status:probability, length@start/every).
        422:1@/orders is for a path, 422:1@x-tenant=42 for a header.
    validation
        With --kind 8select: how events are checked, as with [validation] mode; schema is the
        vendor's whole schema.
    log
        Write every request to this file, as JSON lines. Default: no log.
    bearer
        With --kind http: the token that Authorization must have.
    basic
        With --kind http: USER:PASSWORD that Authorization must have.
    client
        With --kind http: ID:SECRET of an OAuth2 client. It gets tokens at /oauth/token, which
        requests must have, and revokes one (or, without token=, all) at /oauth/revoke.
    token_life
        How long such a token lasts. Default: 5m.
    sign_secret
        With --kind http: the secret whsec_… of which requests need a Standard Webhooks signature.
    tls_cert
        Listen with TLS; the file has the certificate, and its key unless --tls-key has it.
    tls_key
        The key of --tls-cert.
    client_ca
        Ask each client for a certificate of the authority in this file.
    """
    faults = Chaos.parse(chaos)
    asked = _Requirements(bearer, basic, client, token_life, sign_secret)
    made = Sandbox(
        api_id,
        faults,
        validation=validation,
        api=_api(kind, api_id, asked),
        log=log,
        ssl_context=_tls(tls_cert, tls_key, client_ca),
    )

    def ready(server: Sandbox) -> None:
        if context.json:
            context.emit({"url": server.url, "events_url": server.events_url})
        if kind == "8select":
            context.note(_greeting(server, api_id))
        else:
            context.note(_welcome(server, asked, shown=client_ca is not None))

    summary = run_loop(_serve(made, host, port, ready))
    if context.json:
        context.emit({**asdict(summary), "flawless": summary.flawless})
    else:
        _report(context, summary)


@dataclass(frozen=True)
class _Requirements:
    """What the options ask of the requests to an API of kind http."""

    bearer: str
    basic: str
    client: str
    token_life: float | None
    sign_secret: str


def _api(kind: str, api_id: str | None, asked: _Requirements) -> AnyApi | None:
    """Return the API of kind http, or None for the vendor's. Raises UsageError."""
    if kind == "8select":
        for name, value in asdict(asked).items():
            if value not in ("", None):
                option = f"--{name.replace('_', '-')}"
                raise UsageError(f"{option} needs --kind http", f"add it, or omit {option}")
        return None
    if api_id is not None:
        raise UsageError("--api-id needs --kind 8select", "--bearer asks for a token")
    if asked.token_life is not None and not asked.client:
        raise UsageError("--token-life needs --client", "add --client ID:SECRET")
    life = _TOKEN_LIFE if asked.token_life is None else asked.token_life
    return AnyApi(
        bearer=asked.bearer or None,
        basic=_pair("--basic", asked.basic) if asked.basic else None,
        client=OAuthClient(*_pair("--client", asked.client), life) if asked.client else None,
        sign_keys=(secret_key(asked.sign_secret),) if asked.sign_secret else (),
    )


def _pair(option: str, text: str) -> tuple[str, str]:
    name, colon, secret = text.partition(":")
    if not name or not colon or not secret:
        raise UsageError(f"{option} needs a name and a secret", f"write {option} NAME:SECRET")
    return name, secret


def _tls(cert: Path | None, key: Path | None, client_ca: Path | None) -> ssl.SSLContext | None:
    if cert is None:
        if key is not None or client_ca is not None:
            option = "--client-ca" if key is None else "--tls-key"
            raise UsageError(f"{option} needs --tls-cert", "name the sandbox's own certificate")
        return None
    return server_context(cert, key, client_ca)


async def _serve(made: Sandbox, host: str, port: int, ready: Callable[[Sandbox], None]) -> Summary:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return await run_sandbox(made, host, port, stop, ready=ready)


def _greeting(server: Sandbox, api_id: str | None) -> str:
    any_id = "" if api_id else " (it accepts any API ID)"
    # An API ID from the command line is the caller's secret, so it isn't printed.
    shown = '"$API_ID"' if api_id else "sandbox"
    return f"""\
the sandbox listens on {server.url}{any_id}; Ctrl-C stops it

Send it an event:

  curl -i {server.events_url} \\
    -H 'content-type: application/json' -H x-api-id:{shown} \\
    -d '{_EXAMPLE}'

Make a configuration for it:

  shipper init --url {server.events_url} --api-id {shown}

or change [destinations.default] of an existing configuration:

  url = "{server.events_url}"
"""


def _welcome(server: Sandbox, asked: _Requirements, *, shown: bool) -> str:
    """Return the words for an API of kind http; secrets of the command line aren't in it.

    `shown` says whether a client has to show a certificate.
    """
    needs = [
        *(["Authorization: Bearer TOKEN"] if asked.bearer else []),
        *(["Authorization: Basic …"] if asked.basic else []),
        *([f"a token of {server.url}{FETCH_PATH}"] if asked.client else []),
    ]
    checks = f"\nEach request needs {' or '.join(needs)}." if needs else ""
    if asked.sign_secret:
        checks += "\nEach request needs a Standard Webhooks signature."
    lines = "".join(f"\n  {line}" for line in _settings(server, asked, shown=shown))
    files = "" if "file = " not in lines else "; put each secret into its file, and chmod 600 it"
    return f"""\
the sandbox listens on {server.url} and takes events on every path; Ctrl-C stops it
{checks}
Make a destination for it in your configuration{files}:

  [destinations.NAME]
  kind = "http"
  url = "{server.events_url}"{lines}
"""


def _settings(server: Sandbox, asked: _Requirements, *, shown: bool) -> Iterator[str]:
    """Yield the settings that the options ask of a destination; no secret is in them."""
    if server.url.startswith("https:"):
        yield 'ca_file = "sandbox_ca.pem"'
    if shown:
        yield 'tls = { cert_file = "sandbox_own.pem", key_file = "sandbox_own.key" }'
    # One way is enough.
    if asked.client:
        url, name = _toml(server.url + FETCH_PATH), _toml(asked.client.partition(":")[0])
        login = f'"oauth2", token_url = {url}, client_id = {name}, client_secret'
    elif asked.bearer:
        login = '"bearer", token'
    elif asked.basic:
        login = f'"basic", user = {_toml(asked.basic.partition(":")[0])}, password'
    else:
        login = ""
    if login:
        yield f'auth = {{ type = {login}_file = "sandbox_auth" }}'
    if asked.sign_secret:
        yield 'sign = { scheme = "standard-webhooks", secret_file = "sandbox_sign" }'


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _report(context: Context, summary: Summary) -> None:
    context.say(
        f"{several(summary.requests, 'request')}, {count(summary.accepted)} accepted,"
        f" {several(summary.distinct, 'different event')} of {several(summary.users, 'user')}"
    )
    answers = ", ".join(
        f"{name}: {count(number)}" for name, number in sorted(summary.answers.items())
    )
    if answers:
        context.say(f"answers: {answers}")
    broken = summary.order_violations
    order = f"broken {several(broken, 'time')}" if broken else "kept"
    context.say(f"repeats: {count(summary.repeats)}; the order of each user was {order}")
