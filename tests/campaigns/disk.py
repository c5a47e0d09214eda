"""A disk that loses its power: what was synced is there, of the rest some is, and some is torn.

Fed with the log of what processes did to the files of one directory, it tells at any moment what
could be found there after a power cut. It must never keep less than POSIX promises: what was
written before a sync began, and that sync has ended, stays. Beyond that nothing is promised, and
nothing is kept in order: of the writes that no sync covers each may be there, or not, or in part.
Names that were made or removed since the directory was synced may be lost, the last ones first.
"""

import random
from dataclasses import dataclass, field
from pathlib import Path

from tests.campaigns.disklog import Record

# Shared memory and locks: nothing of them means anything after a power cut.
_VOLATILE = ("-shm", ".lock")


@dataclass(slots=True)
class _Write:
    number: int
    kind: str
    offset: int
    data: bytes

    def apply(self, to: bytearray) -> None:
        missing = self.offset - len(to)
        if missing > 0:
            to.extend(bytes(missing))
        if self.kind == "T":
            del to[self.offset :]
        else:
            to[self.offset : self.offset + len(self.data)] = self.data


@dataclass(slots=True)
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[_Write] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Naming:
    number: int
    name: str
    file: _File | None


class Disk:
    """The files of one directory, from what is there when it begins."""

    def __init__(self, directory: Path) -> None:
        self._files: dict[int, _File] = {}
        self._names: dict[str, _File] = {}
        self._pending: list[_Naming] = []
        self._syncs: dict[int, int] = {}
        self._number = 0
        for path in directory.iterdir():
            file = _File(bytearray(path.read_bytes()))
            self._files[path.stat().st_ino] = file
            self._names[path.name] = file

    def feed(self, record: Record) -> None:
        """Take in what a process did."""
        self._number += 1
        match record.kind:
            case "W" | "T":
                file = self._files.setdefault(record.inode, _File())
                file.pending.append(_Write(self._number, record.kind, record.offset, record.data))
            case "C":
                file = self._files.setdefault(record.inode, _File())
                self._pending.append(_Naming(self._number, record.data.decode(), file))
            case "D":
                self._remove(record.data.decode())
            case "S":
                self._syncs[record.offset] = self._number
            case "E":
                self._sync(record.inode, self._syncs.pop(record.offset))

    def _remove(self, name: str) -> None:
        self._pending.append(_Naming(self._number, name, None))
        # The number of the inode may be given to another file.
        gone = self._present().get(name)
        self._files = {inode: file for inode, file in self._files.items() if file is not gone}

    def _present(self) -> dict[str, _File | None]:
        return {**self._names, **{naming.name: naming.file for naming in self._pending}}

    def _sync(self, inode: int, before: int) -> None:
        if not inode:
            self._settle([one for one in self._pending if one.number < before], self._names)
            self._pending = [one for one in self._pending if one.number >= before]
        elif (file := self._files.get(inode)) is not None:
            for write in file.pending:
                if write.number < before:
                    write.apply(file.durable)
            file.pending = [write for write in file.pending if write.number >= before]

    @staticmethod
    def _settle(namings: list[_Naming], names: dict[str, _File]) -> None:
        for naming in namings:
            if naming.file is None:
                names.pop(naming.name, None)
            else:
                names[naming.name] = naming.file

    def after_power_cut(self, chance: random.Random, to: Path) -> None:
        """Write what is found when the power comes back, into an empty directory."""
        names = dict(self._names)
        self._settle(self._pending[: chance.randint(0, len(self._pending))], names)
        luck = chance.choice((0.0, 0.3, 0.7, 0.95, 1.0))
        for name, file in names.items():
            if name.endswith(_VOLATILE):
                continue
            content = bytearray(file.durable)
            for write in file.pending:
                if chance.random() < luck:
                    write.apply(content)
                elif write.data and chance.random() < 0.2:
                    torn = write.data[: chance.randrange(len(write.data))]
                    _Write(0, "W", write.offset, torn).apply(content)
            (to / name).write_bytes(content)
