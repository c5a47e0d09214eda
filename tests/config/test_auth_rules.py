"""What the sections auth, tls, sign and cloudevents must be to each other."""

from pathlib import Path

import pytest

from shipper.config import load
from shipper.errors import ConfigError

BEFORE = """\
[database]
url = "sqlite:///shop.db"
[destinations.erp]
kind = "http"
url = "https://erp.example/hooks"
"""
WHSEC = f"whsec_{'abcd' * 8}"

GOOD = {
    "bearer": '[destinations.erp.auth]\ntype = "bearer"\ntoken_file = "token"',
    "basic": '[destinations.erp.auth]\ntype = "basic"\nuser = "u"\npassword_file = "words"',
    "oauth2": '[destinations.erp.auth]\ntype = "oauth2"\ntoken_url = "https://login.example/t"\n'
    'client_id = "c"\nclient_secret_file = "words"\nscope = "a b"\naudience = "x"\n'
    'client_auth = "post"',
    "a token endpoint here": '[destinations.erp.auth]\ntype = "oauth2"\nclient_id = "c"\n'
    'token_url = "http://localhost:1/t"\nclient_secret_file = "words"',
    "tls": '[destinations.erp.tls]\ncert_file = "own.pem"\nkey_file = "own.pem"',
    "sign": '[destinations.erp.sign]\nscheme = "standard-webhooks"\nsecret_file = "signing"',
    "cloudevents": '[destinations.erp.cloudevents]\nsource = "https://a/b?c#d"\ntype_prefix = "x."',
}

OAUTH2 = 'auth]\ntype = "oauth2"\nclient_secret_file = "words"'
SIGN = 'sign]\nscheme = "standard-webhooks"'
TWICE = "this header is set twice, here and by [destinations.erp."
BAD = {
    "no token": ('auth]\ntype = "bearer"', "auth.type", '"bearer" needs token_file'),
    "no user": ('auth]\ntype = "basic"\npassword_file = "words"', "auth.type", "needs user"),
    "no password": ('auth]\ntype = "basic"\nuser = "u"', "auth.type", "needs password_file"),
    "a colon": (
        'auth]\ntype = "basic"\nuser = "a:b"\npassword_file = "words"',
        "auth.user",
        "colon",
    ),
    "no type": ('auth]\ntoken_file = "token"', "auth.token_file", 'belongs to type = "bearer"'),
    "another type's": (
        'auth]\ntype = "bearer"\ntoken_file = "token"\nscope = "s"',
        "auth.scope",
        'belongs to type = "oauth2"',
    ),
    "a wrong type": ('auth]\ntype = "digest"', "auth.type", "must be one of bearer, basic, oauth2"),
    "no client": (f'{OAUTH2}\ntoken_url = "https://l.example/"', "auth.type", "needs client_id"),
    "in clear": (f'{OAUTH2}\ntoken_url = "http://l.example/"', "auth.token_url", "must be https"),
    "two words": (
        'auth]\ntype = "bearer"\ntoken_file = "words"',
        "auth.token_file",
        "without spaces",
    ),
    "no file": (
        'auth]\ntype = "bearer"\ntoken_file = "gone"',
        "auth.token_file",
        "can't be read: No such file",
    ),
    "open to all": (
        'auth]\ntype = "bearer"\ntoken_file = "open"',
        "auth.token_file",
        "can be read by other users",
    ),
    "two lines": (
        'auth]\ntype = "basic"\nuser = "u"\npassword_file = "lines"',
        "auth.password_file",
        "must be a text in UTF-8, on one line",
    ),
    "no UTF-8": (
        'auth]\ntype = "basic"\nuser = "u"\npassword_file = "latin"',
        "auth.password_file",
        "must be a text in UTF-8, on one line",
    ),
    "no key": ('tls]\ncert_file = "own.pem"', "tls.cert_file", "needs key_file"),
    "no certificate": ('tls]\nkey_file = "own.pem"', "tls.key_file", "needs cert_file"),
    "no scheme": ('sign]\nsecret_file = "signing"', "sign.secret_file", "needs scheme"),
    "no secret": (SIGN, "sign.scheme", "needs secret_file"),
    "no such scheme": (
        'sign]\nscheme = "v1a"\nsecret_file = "signing"',
        "sign.scheme",
        "standard-webhooks",
    ),
    "three secrets": (f'{SIGN}\nsecret_file = "three"', "sign.secret_file", "one or two secrets"),
    "words": (
        f'{SIGN}\nsecret_file = "words"',
        "sign.secret_file",
        "line 1: must begin with whsec_",
    ),
    "no source": ('cloudevents]\ntype_prefix = "x."', "cloudevents.type_prefix", "needs source"),
    "no URI": ('cloudevents]\nsource = "shop 42"', "cloudevents.source", "must be a URI"),
    "two logins": (
        f'headers]\nAuthorization = "x"\n{GOOD["bearer"]}',
        "headers.Authorization",
        f"{TWICE}auth]",
    ),
    "two signatures": (
        f'headers]\nwebhook-id = "x"\n{GOOD["sign"]}',
        "headers.webhook-id",
        f"{TWICE}sign]",
    ),
    "two ids": (
        f'headers]\nCe-Id = "x"\n{GOOD["cloudevents"]}',
        "headers.Ce-Id",
        f"{TWICE}cloudevents]",
    ),
}


def loaded(directory: Path, text: str) -> list[str]:
    """Return the problems of a configuration; none if it is sound."""
    files = {
        "token": "a.token",
        "words": "two words",
        "open": "a.token",
        "signing": WHSEC,
        "three": "\n".join([WHSEC] * 3),
        "lines": "a word\nanother",
        "latin": "w\xf6rt",
    }
    for name, content in files.items():
        (directory / name).write_text(f"{content}\n", "latin-1")
        (directory / name).chmod(0o644 if name == "open" else 0o600)
    file = directory / "shipper.toml"
    file.write_text(text)
    file.chmod(0o600)
    try:
        load(file, {})
    except ConfigError as error:
        return error.problems
    return []


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_what_fits_together_is_taken(text: str, tmp_path: Path) -> None:
    """Each of them alone, and all of them together."""
    assert loaded(tmp_path, BEFORE + text) == []


def test_all_of_them_fit_together(tmp_path: Path) -> None:
    """One of each section."""
    parts = (GOOD[name] for name in ("oauth2", "tls", "sign", "cloudevents"))
    assert loaded(tmp_path, BEFORE + "\n".join(parts)) == []


@pytest.mark.parametrize(("text", "setting", "why"), BAD.values(), ids=BAD)
def test_what_does_not_fit_is_refused_with_its_line(
    text: str, setting: str, why: str, tmp_path: Path
) -> None:
    """And with the setting, but without a secret."""
    problems = loaded(tmp_path, f"{BEFORE}[destinations.erp.{text}")
    [problem] = [one for one in problems if f"destinations.erp.{setting}: " in one]
    assert why in problem
    place = problem.split(":")
    assert place[0].endswith("shipper.toml")
    assert int(place[1]) > 5
    for secret in ("a.token", "two words", "abcd"):
        assert secret not in str(problems)


@pytest.mark.parametrize("section", ["auth", "tls", "sign", "cloudevents"])
def test_kind_8select_has_none_of_them(section: str, tmp_path: Path) -> None:
    """Its requests stay what they are, to the byte."""
    text = BEFORE.replace('kind = "http"', 'api_id = "k"')
    more = {"auth": "bearer"}.get(section, section)
    [problem] = loaded(tmp_path, text + GOOD[more])[:1]
    assert 'only a destination with kind = "http" has it' in problem
