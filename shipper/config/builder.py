"""Makes the sections of `Settings` from the raw values.

It decides which of two values for one setting wins: a variable wins over the file; a systemd
credential is used only if neither gives an API ID that this process can read. A command that only
looks doesn't need the secrets of a sender. It must never stop at the first mistake.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from shipper.config.destination import DestinationSettings, RetrySettings
from shipper.config.http_rules import check_destination, refuse_foreign
from shipper.config.layers import Layers, RawValue, SettingPath, ValueOrigin, dotted
from shipper.config.members import Entries, Named, members
from shipper.config.secret import read_secret
from shipper.config.settings import AlertSettings, DatabaseSettings
from shipper.config.types import FilePath, ValueType
from shipper.config.urls import keeps_secrets
from shipper.wording.quantities import duration


@dataclass(frozen=True, slots=True)
class Builder:
    """Makes sections from raw values, and notes every mistake in them."""

    layers: Layers
    credentials: Path | None
    sends: bool
    """Whether the settings are for a process that sends, and so needs the secrets."""
    origins: dict[str, str] = field(default_factory=dict)

    def build(self, shape: type, path: SettingPath) -> Any:
        """Return the section, or None if it has a mistake."""
        before = len(self.layers.mistakes)
        values = self._prepare(shape, path)
        for name, member in members(shape).items():
            here = (*path, name)
            if isinstance(member, Named):
                values[name] = self._build_named(member.shape, here)
            elif isinstance(member, Entries):
                values[name] = self._build_entries(member.kind, here)
            elif not isinstance(member, ValueType):
                values[name] = self.build(member, here)
            elif here in self.layers.given:
                values[name] = self._parse(here, member)
        if len(self.layers.mistakes) > before:
            return None
        section = shape(**values)
        if isinstance(section, RetrySettings):
            self._cross_check(section, path)
        if isinstance(section, DestinationSettings):
            check_destination(section, path, self.layers, sends=self.sends)
        self._refuse_leaks(section, path)
        return section

    def _build_named(self, shape: type, path: SettingPath) -> Mapping[str, Any]:
        names = self.layers.destinations
        if not names:
            self.layers.report(self.layers.origin(path), f"no [{dotted(path)}.NAME]: one is needed")
        return MappingProxyType({name: self.build(shape, (*path, name)) for name in names})

    def _build_entries(self, kind: ValueType, path: SettingPath) -> Mapping[str, Any]:
        names = self.layers.entries(path)
        return MappingProxyType({name: self._parse((*path, name), kind) for name in names})

    def _parse(self, path: SettingPath, kind: ValueType) -> Any:
        given = self.layers.given[path]
        where = "environment " if given.origin.in_environment else ""
        self.origins[dotted(path)] = f"{where}{given.origin}"
        try:
            return kind.parse(given.raw, given.base)
        except ValueError as error:
            self.layers.report(given.origin, f"{dotted(path)}: {error}")
            return None

    def _prepare(self, shape: type, path: SettingPath) -> dict[str, Any]:
        """Decide which of two settings for one thing counts; return the values that no file has."""
        if shape is DatabaseSettings:
            self._one_of((*path, "url"), (*path, "url_file"))
            self._read_url_file((*path, "url"), (*path, "url_file"))
        if shape is AlertSettings:
            for name in ("heartbeat_url", "webhook_url"):
                self._at_most_one_of((*path, name), (*path, f"{name}_file"))
                if self.sends:
                    self._read_url_file((*path, name), (*path, f"{name}_file"))
        if shape is not DestinationSettings:
            return {}
        if (*path, "url") not in self.layers.given:
            self.layers.report(self.layers.origin(path), f"{dotted(path)}.url: is missing")
        if refuse_foreign(path, self.layers) != "8select":
            return {"name": path[-1]}
        self._use_credential(path[-1], (*path, "api_id"), (*path, "api_id_file"))
        choose = self._one_of if self.sends else self._at_most_one_of
        choose((*path, "api_id"), (*path, "api_id_file"))
        return {"name": path[-1]}

    def _one_of(self, value: SettingPath, file: SettingPath) -> None:
        if value not in self.layers.given and file not in self.layers.given:
            message = f"{dotted(value)} or {file[-1]}: is missing"
            self.layers.report(self.layers.origin(value), message)
        self._at_most_one_of(value, file)

    def _at_most_one_of(self, value: SettingPath, file: SettingPath) -> None:
        given = self.layers.given
        both = [path for path in (value, file) if path in given]
        if len(both) == 2:
            outranked = [path for path in both if not given[path].origin.in_environment]
            if len(outranked) == 1:
                del given[outranked[0]]
            else:
                message = f"{dotted(value)}: is set, and so is {file[-1]}; remove one of them"
                self.layers.report(given[value].origin, message)

    def _read_url_file(self, url: SettingPath, url_file: SettingPath) -> None:
        if url in self.layers.given or url_file not in self.layers.given:
            return
        given = self.layers.given[url_file]
        try:
            file = FilePath().parse(given.raw, given.base)
        except ValueError:
            return  # `_parse` reports it
        try:
            raw = read_secret(file)
        except ValueError as error:
            self.layers.report(given.origin, f"{dotted(url_file)}: {file} {error}")
        else:
            origin = ValueOrigin(given.origin.line, f"{file}:1")
            self.layers.given[url] = RawValue(raw, origin, file.parent)

    def _use_credential(self, owner: str, api_id: SettingPath, file: SettingPath) -> None:
        """Use the API ID of systemd's LoadCredential=.

        Only if the configuration has none, or names a file that this process can't read: systemd
        has read that file for the daemon.
        """
        given = self.layers.given
        if self.credentials is None or api_id in given:
            return
        if file in given and not _is_hidden(given[file]):
            return
        names = [f"{owner}_api_id"] + (["api_id"] if owner == "default" else [])
        for name in names:
            if _holds_something(self.credentials / name):
                given[file] = RawValue(name, ValueOrigin(0, f"credential {name}"), self.credentials)
                return

    def _cross_check(self, retry: RetrySettings, path: SettingPath) -> None:
        for name in ("max_delay", "probe_max_delay"):
            longest = getattr(retry, name)
            if retry.min_delay > longest:
                either = [self.layers.given.get((*path, n)) for n in (name, "min_delay")]
                origin = next(given.origin for given in either if given)
                message = f"{dotted((*path, name))}: {duration(longest)} is less than min_delay"
                self.layers.report(origin, f"{message}, {duration(retry.min_delay)}")

    def _refuse_leaks(self, section: object, path: SettingPath) -> None:
        """Report each URL whose secrets a proxy on another machine would read."""
        if isinstance(section, DestinationSettings):
            urls: dict[str, str | None] = {"url": section.url}
        elif isinstance(section, AlertSettings):
            hooks = {"heartbeat_url": section.heartbeat_url, "webhook_url": section.webhook_url}
            urls = {name: hook.reveal() if hook else None for name, hook in hooks.items()}
        else:
            return
        proxy = section.proxy
        if proxy is None or keeps_secrets(f"http:{proxy.partition(':')[2]}"):
            return
        for name, url in urls.items():
            if url is not None and url.startswith("http://"):
                here = (*path, name)
                message = "must be https: the proxy, on another machine, could read the secret"
                self.layers.report(self.layers.given[here].origin, f"{dotted(here)}: {message}")


def _is_hidden(given: RawValue) -> bool:
    """Return whether the value names a file that this process isn't allowed to read."""
    try:
        FilePath().parse(given.raw, given.base).open("rb").close()
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False  # `_parse` or `read_api_id` reports it
    return False


def _holds_something(credential: Path) -> bool:
    """Return whether a credential exists and isn't blank.

    The unit's credential is blank if its file is missing. The variable can also have been inherited
    by mistake and name the directory of another service: that holds nothing for this process.
    """
    # Path.is_file() would raise for such a directory.
    if not os.path.isfile(credential):  # noqa: PTH113
        return False
    try:
        with credential.open("rb") as file:
            return bool(file.read(1024).strip())
    except OSError:
        return False
