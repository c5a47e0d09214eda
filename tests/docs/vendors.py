"""Stand-ins for the APIs of the README's recipes: they check what the vendors document.

Each is a function that chooses the answer to a request, for `Sandbox.answer_for`. What the vendors
keep, and what they throw away without a word, is in the lists of the stand-in.
"""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from shipper.sandbox import RequestInfo, SandboxAnswer

_DAY = 86400


def query_of(info: RequestInfo) -> dict[str, str]:
    """Return the parameters of a request's query; none may stand twice."""
    found = parse_qs(urlsplit(info.target).query, strict_parsing=True)
    assert all(len(values) == 1 for values in found.values())
    return {name: values[0] for name, values in found.items()}


class Google:
    """The Measurement Protocol of Google Analytics 4.

    https://developers.google.com/analytics/devguides/collection/protocol/ga4: every request to
    /mp/collect gets a 2xx, also a malformed one. /debug/mp/collect answers what is wrong, and keeps
    nothing; it doesn't check the secret.
    """

    def __init__(self, measurement_id: str, secret: str) -> None:
        self.kept: list[dict[str, Any]] = []
        self.dropped: list[bytes] = []
        self._expected = {"measurement_id": measurement_id, "api_secret": secret}

    def __call__(self, info: RequestInfo) -> SandboxAnswer:
        """Return the answer to a request."""
        assert info.method == "POST"
        if info.path == "/debug/mp/collect":
            body = {"validationMessages": self._messages(info)}
            return SandboxAnswer(200, orjson.dumps(body), {"Content-Type": "application/json"})
        assert info.path == "/mp/collect"
        if query_of(info) != self._expected or self._messages(info):
            self.dropped.append(info.payload)
        else:
            self.kept.append(orjson.loads(info.payload))
        return SandboxAnswer(204)

    def _messages(self, info: RequestInfo) -> list[dict[str, str]]:
        body = orjson.loads(info.payload)
        found = []
        if not body.get("client_id"):
            found.append(_message("client_id", "A client_id is required.", "VALUE_REQUIRED"))
        for index, event in enumerate(body.get("events", [])):
            if not re.fullmatch(r"[A-Za-z]\w{0,39}", event["name"]):
                text = f"Event at index: [{index}] has invalid name [{event['name']}]."
                found.append(_message("events", text, "NAME_INVALID"))
        return found


def _message(path: str, text: str, code: str) -> dict[str, str]:
    return {"fieldPath": path, "description": text, "validationCode": code}


class Matomo:
    """The Tracking HTTP API of Matomo 5.4, with bulk requests.

    https://developer.matomo.org/api-reference/tracking-api: `idsite` and `rec=1` are required; a
    `cdt` of more than a day ago needs a valid token. A request that isn't tracked is counted as
    invalid, and the answer is 200 all the same (matomo-org/matomo#22910).
    """

    def __init__(self, token: str, wall: Callable[[], float]) -> None:
        self.tracked: list[dict[str, str]] = []
        self.dropped: list[dict[str, str]] = []
        self._token = token
        self._wall = wall

    def __call__(self, info: RequestInfo) -> SandboxAnswer:
        """Return the answer to a request."""
        assert (info.method, info.target) == ("POST", "/matomo.php")
        is_known = info.headers.get("authorization") == f"Bearer {self._token}"
        requests = orjson.loads(info.payload)["requests"]
        counts = {True: 0, False: 0}
        for request in requests:
            mark, _, query = request.partition("?")
            assert not mark
            fields = {name: values[0] for name, values in parse_qs(query).items()}
            is_old = self._wall() - int(fields.get("cdt", self._wall())) > _DAY
            is_good = (
                fields["rec"] == "1" and fields["idsite"].isdigit() and (is_known or not is_old)
            )
            counts[is_good] += 1
            (self.tracked if is_good else self.dropped).append(fields)
        body = {"status": "success", "tracked": counts[True], "invalid": counts[False]}
        return SandboxAnswer(200, orjson.dumps(body), {"Content-Type": "application/json"})
