"""Configuration files and environments of any kind, and what must be true of each."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from hypothesis import strategies as st

from shipper.config import load, show
from shipper.config.settings import every_setting
from shipper.errors import ConfigError

_CANARY = "hush-canary"

_NAMES = sorted({part for path, _ in every_setting() for part in path} - {"*"})
_SECTIONS = ["database", "destinations", "destinations.default", "destinations.default.retry",
             "destinations.other", "validation", "retention", "schedule", "log",
             "destinations.default.headers", "destinations.default.secrets",
             "destinations.default.answers"]  # fmt: skip
_VALUES = st.one_of(
    st.sampled_from(['"postgres://u@h/db"', '"1h"',
                     '"https://h/"', "[]", '["* * * * *"]', "{}", "1979-05-27", "inf", "nan"]),
    st.integers().map(str),
    st.integers().map(hex),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
    st.text().map(json.dumps),
    st.lists(st.text(max_size=9)).map(json.dumps),
    st.text(max_size=9),
)  # fmt: skip
_KEYS = st.one_of(st.sampled_from(_NAMES), st.text(max_size=9).map(json.dumps))
_HEADERS = st.one_of(st.sampled_from(_SECTIONS), _KEYS).map(lambda name: f"[{name}]")
_SECRETS = st.tuples(
    st.sampled_from(["url", "api_id", "proxy", "ap_id", "x-api-key", "token", "hook_key"]),
    st.sampled_from([" = ", "=", " "]),
    st.sampled_from(
        [_CANARY, f'"{_CANARY}"', f'"https://u:{_CANARY}@h/"', f'"x://{_CANARY}', f'"""{_CANARY}']
    ),
).map("".join)
_LINES = st.one_of(_HEADERS, _SECRETS, st.tuples(_KEYS, _VALUES).map(" = ".join))
_HTTP = [
    '[database]\nurl = "postgres://u@h/db"\n[destinations.default]\nkind = "http"',
    'url = "https://h/{type}?k={secret:hook}&api_key=hush-canary"',
    "[destinations.default.headers]",
]
DOCUMENTS = st.one_of(
    st.binary(max_size=200),
    st.lists(_LINES).map(lambda lines: "\n".join(lines).encode()),
    st.lists(_LINES).map(lambda lines: "\n".join([*_HTTP, *lines]).encode()),
)
VARIABLES = st.dictionaries(
    st.one_of(
        st.sampled_from(
            [
                "SHIPPER_" + "__".join(path).upper().replace("*", "DEFAULT")
                for path, _ in every_setting()
            ]
        ),
        st.text(max_size=9).map(lambda text: f"SHIPPER_{text}__X"),
    ),
    st.text(max_size=30),
    max_size=3,
)


def faults(file: Path, document: bytes, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with how a configuration is read.

    It gives settings, or problems that each name their place; never a secret.
    """
    file.write_bytes(document)
    try:
        settings = load(file, environ)
    except ConfigError as error:
        problems = error.problems
        if not problems:
            yield "it is refused without a problem"
    else:
        problems = []
        if _CANARY in repr(show(settings)):
            yield "the settings show a secret"
    place = re.compile(rf"{re.escape(str(file))}:\d+: |['\"]?SHIPPER_.*?: ")
    for problem in problems:
        if not place.match(problem):
            yield f"no place: {problem}"
        if _CANARY in problem:
            yield f"a secret: {problem}"
