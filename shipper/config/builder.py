"""From what was written to the sections of `Settings`.

It decides which of several words about one setting wins: the environment's over the file's, a
systemd credential only where neither gave an API ID that we may read. What only a sender needs may
be out of reach of who only looks. It never stops at the first fault.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from shipper.config.layers import Given, Layers, Place, SettingPath, dotted
from shipper.config.secret import read_secret
from shipper.config.settings import (
    AlertSettings,
    DatabaseSettings,
    DestinationSettings,
    Named,
    RetrySettings,
    members,
)
from shipper.config.types import FilePath, Kind
from shipper.config.urls import keeps_secrets
from shipper.wording.quantities import duration


@dataclass(frozen=True, slots=True)
class Builder:
    """Makes sections of what the layers hold, and takes down what is wrong with the values."""

    layers: Layers
    credentials: Path | None
    sends: bool
    """Whether the settings are for somebody who sends, and so needs the secrets."""
    origins: dict[str, str] = field(default_factory=dict)

    def build(self, shape: type, path: SettingPath) -> Any:
        """Return the section, or None where it has a fault."""
        faults = len(self.layers.faults)
        values = self._prepare(shape, path)
        for name, member in members(shape).items():
            here = (*path, name)
            if isinstance(member, Named):
                values[name] = self._build_named(member.shape, here)
            elif not isinstance(member, Kind):
                values[name] = self.build(member, here)
            elif here in self.layers.given:
                values[name] = self._parse(here, member)
        if len(self.layers.faults) > faults:
            return None
        section = shape(**values)
        if isinstance(section, RetrySettings):
            self._cross_check(section, path)
        self._refuse_leaks(section, path)
        return section

    def _build_named(self, shape: type, path: SettingPath) -> Mapping[str, Any]:
        names = self.layers.destinations
        if not names:
            self.layers.fault(self.layers.place(path), f"no [{dotted(path)}.NAME]: one is needed")
        return MappingProxyType({name: self.build(shape, (*path, name)) for name in names})

    def _parse(self, path: SettingPath, kind: Kind) -> Any:
        given = self.layers.given[path]
        where = "environment " if given.place.in_environment else ""
        self.origins[dotted(path)] = f"{where}{given.place}"
        try:
            return kind.parse(given.raw, given.base)
        except ValueError as error:
            self.layers.fault(given.place, f"{dotted(path)}: {error}")
            return None

    def _prepare(self, shape: type, path: SettingPath) -> dict[str, Any]:
        """Settle which of two settings for one thing counts; return what no file says."""
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
            self.layers.fault(self.layers.place(path), f"{dotted(path)}.url: is missing")
        self._use_credential(path[-1], (*path, "api_id"), (*path, "api_id_file"))
        choose = self._one_of if self.sends else self._at_most_one_of
        choose((*path, "api_id"), (*path, "api_id_file"))
        return {"name": path[-1]}

    def _one_of(self, value: SettingPath, file: SettingPath) -> None:
        if value not in self.layers.given and file not in self.layers.given:
            message = f"{dotted(value)} or {file[-1]}: is missing"
            self.layers.fault(self.layers.place(value), message)
        self._at_most_one_of(value, file)

    def _at_most_one_of(self, value: SettingPath, file: SettingPath) -> None:
        given = self.layers.given
        both = [path for path in (value, file) if path in given]
        if len(both) == 2:
            outranked = [path for path in both if not given[path].place.in_environment]
            if len(outranked) == 1:
                del given[outranked[0]]
            else:
                message = f"{dotted(value)}: stands beside {file[-1]}; leave one of them out"
                self.layers.fault(given[value].place, message)

    def _read_url_file(self, url: SettingPath, url_file: SettingPath) -> None:
        if url in self.layers.given or url_file not in self.layers.given:
            return
        given = self.layers.given[url_file]
        try:
            file = FilePath().parse(given.raw, given.base)
        except ValueError:
            return  # it is reported when its turn comes
        try:
            raw = read_secret(file)
        except ValueError as error:
            self.layers.fault(given.place, f"{dotted(url_file)}: {file} {error}")
        else:
            self.layers.given[url] = Given(raw, Place(given.place.line, f"{file}:1"), file.parent)

    def _use_credential(self, owner: str, api_id: SettingPath, file: SettingPath) -> None:
        """Take the API ID that systemd's LoadCredential= left for us.

        Only where none is configured, or the configured file is one that we may not read: then
        systemd has read it for us.
        """
        given = self.layers.given
        if self.credentials is None or api_id in given:
            return
        if file in given and not _is_hidden(given[file]):
            return
        names = [f"{owner}_api_id"] + (["api_id"] if owner == "default" else [])
        for name in names:
            if _holds_something(self.credentials / name):
                given[file] = Given(name, Place(0, f"credential {name}"), self.credentials)
                return

    def _cross_check(self, retry: RetrySettings, path: SettingPath) -> None:
        for name in ("max_delay", "probe_max_delay"):
            longest = getattr(retry, name)
            if retry.min_delay > longest:
                either = [self.layers.given.get((*path, n)) for n in (name, "min_delay")]
                place = next(given.place for given in either if given)
                message = f"{dotted((*path, name))}: {duration(longest)} is less than min_delay"
                self.layers.fault(place, f"{message}, {duration(retry.min_delay)}")

    def _refuse_leaks(self, section: object, path: SettingPath) -> None:
        """Take down each URL whose secrets a proxy on another machine would hear."""
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
                message = "must be https: the proxy, on another machine, would read what is secret"
                self.layers.fault(self.layers.given[here].place, f"{dotted(here)}: {message}")


def _is_hidden(given: Given) -> bool:
    """Return whether a file that is named there is one that we may not read."""
    try:
        FilePath().parse(given.raw, given.base).open("rb").close()
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False  # whatever it is, it is reported when its turn comes
    return False


def _holds_something(credential: Path) -> bool:
    """Return whether a credential is there and not blank, as the unit's is without the file.

    A directory of somebody else's, inherited by mistake, holds nothing.
    """
    # Path.is_file() would raise for such a directory.
    if not os.path.isfile(credential):  # noqa: PTH113
        return False
    try:
        with credential.open("rb") as file:
            return bool(file.read(1024).strip())
    except OSError:
        return False
