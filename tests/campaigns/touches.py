"""Why no other user can choose what the package opens, makes, renames, changes or removes.

`FAULTS.md` is made of this data, and a test compares it with the source (`touching`). A developer
who adds a call lists it here, or uses `shipper.system.files`, whose calls are listed already.
"""

from collections.abc import Mapping
from typing import Final

Touch = tuple[str, str, str, int]
"""A module, a function of it, a call, and how often the function has this call."""

DIRECTORY = "by `files.Directory`: a name in a directory that is open as a descriptor; the opened file is checked, no link is followed"
CHECKED = (
    "no link is followed, the call never waits, and the opened file is checked before it is used"
)
STEP = "one step of a path, opened without reading; a link is followed only if root, the process's own user or the directory's owner made it"
ONE_NAME = "a name in a directory that is open as a descriptor; the target of a link stays as it is"
MADE = "made exclusively just before, and changed by its descriptor"
HELD = "a descriptor that `files` has opened or `drafts` has made"
DRAFT = "in shipper's own directory that no other user can enter; both sides are descriptors"
SQLITE = "SQLite takes a path: another user's link in the path or beside the file is refused before; a draft is checked after"
SOCKET = "opened only in a directory where no other user can write; the socket has its mode before it has a name"
SYSTEM = "a directory of the system, where only root can write"
NAMED = "only read; its name comes from the command line or the configuration; its text is never shown if it is secret"
NAMED_DIRECTORY = "its name comes from the command line; files in it are made by `files`, which refuses another user's link in the path"
LOOKED = "only its flags are read"
PLACE = "opened without reading"
KERNEL = "a file of the kernel, in /proc"
PACKAGED = "a file of the package"
CHECKOUT = "a developer's own checkout"
STANDARD = "a device of the system for output: /dev/null, /dev/stdout, /dev/stderr"
UNNAMED = "by `tempfile`: exclusively, with a random name or without a name"
MEMORY = "in memory"
NO_FILE = "no file: a port, a server, a shop, a text"

TOUCHES: Final[Mapping[str, tuple[Touch, ...]]] = {
    CHECKED: (
        ("system/files.py", "Directory.open", "os.open", 1),
        ("system/files.py", "Directory.sync", "os.open", 1),
    ),
    CHECKOUT: (
        ("cli/setup/man_page.py", "main", "ASSETS / name.write_text", 1),
    ),
    DIRECTORY: (
        ("cli/setup/assets.py", "_is_another", "directory.open", 1),
        ("cli/setup/service.py", "_read", "directory.open", 1),
        ("cli/setup/service.py", "uninstall", "directory.remove", 1),
        ("system/files.py", "Directory.open_or_make", "self.open", 1),
        ("cli/setup/init.py", "_create", "directory.remove", 1),
        ("store/db/sqlite/wal_files.py", "Beside.protect", "directory.open", 1),
        ("store/db/sqlite/wal_files.py", "Beside._copied", "directory.remove", 1),
        ("store/db/sqlite/wal_files.py", "Beside.set_aside", "directory.remove", 1),
        ("store/report/silence.py", "_opened", "directory.open", 1),
        ("store/lease/file_lock.py", "FileLock._is_locked", "directory.open", 1),
        ("store/lease/file_lock.py", "FileLock._opened", "directory.open", 1),
        ("store/lease/file_lock.py", "_guarded", "directory.open", 1),
        ("store/upkeep/reserve.py", "Reserve._own", "directory.remove", 1),
        ("store/upkeep/reserve.py", "Reserve.restore", "directory.remove", 1),
        ("port/server.py", "WebServer.aclose", "sockets.remove", 1),
        ("port/sockets.py", "_bound_unix", "directory.remove", 1),
        ("port/sockets.py", "remove", "directory.remove", 1),
    ),
    DRAFT: (
        ("system/drafts.py", "Draft.__exit__", "os.rmdir", 1),
        ("system/drafts.py", "Draft.__exit__", "self._inside.remove", 1),
        ("system/drafts.py", "Draft._link", "os.link", 1),
        ("system/drafts.py", "Draft._link", "os.rename", 1),
        ("system/drafts.py", "Draft.publish", "os.rename", 1),
    ),
    HELD: (
        ("store/report/silence.py", "note", "os.pwrite", 1),
        ("store/lease/file_lock.py", "_wipe_out_note", "os.pwrite", 1),
        ("cli/setup/assets.py", "_is_another", "os.fdopen", 1),
        ("cli/commands/export.py", "_Keeper._keep", "open", 1),
        ("cli/setup/init.py", "_create", "os.fdopen", 1),
        ("cli/setup/service.py", "_read", "os.fdopen", 1),
        ("demo/command.py", "_log_in", "os.fdopen", 1),
        ("demo/command.py", "_log_in", "os.ftruncate", 1),
        ("system/drafts.py", "replace", "open", 1),
        ("system/drafts.py", "replace", "os.fchmod", 1),
        ("sandbox/journal.py", "Journal.__init__", "os.fdopen", 1),
        ("store/operate/backup.py", "_without_wal", "os.pwrite", 2),
        ("store/db/sqlite/wal_files.py", "Beside._copied", "os.fdopen", 1),
        ("store/upkeep/reserve.py", "Reserve.give", "os.ftruncate", 1),
        ("store/upkeep/reserve.py", "Reserve.restore", "os.ftruncate", 1),
        ("store/upkeep/reserve.py", "Reserve.restore", "os.posix_fallocate", 1),
    ),
    KERNEL: (
        ('doctor/checks.py', '_user', "Path(f'/proc/{pid}/status').read_text", 1),
        ("store/db/sqlite/wal_files.py", "Beside._copied", "Path(ours[0]).open", 1),
        ('store/db/sqlite/holders.py', '_locks', "Path('/proc/locks').read_text", 1),
        ('store/db/sqlite/holders.py', '_name', "Path(f'/proc/{pid}/comm').read_text", 1),
        ('store/lease/lease.py', '_boot', "Path('/proc/sys/kernel/random/boot_id').read_text", 1),
        ('store/lease/lease.py', '_status', "Path(f'/proc/{pid}/stat').read_text", 1),
        ('store/db/sqlite/place.py', '_mount_id', "Path(f'/proc/self/fdinfo/{descriptor}').read_text", 1),
        ("store/db/sqlite/place.py", "_mounts", "mountinfo or MOUNTINFO.read_text", 1),
    ),
    LOOKED: (
        ("doctor/access.py", "_is_immutable", "os.open", 1),
    ),
    MADE: (
        ("cli/setup/init.py", "_create", "os.fchmod", 1),
        ("cli/setup/init.py", "_create", "os.fchown", 1),
        ("system/files.py", "Directory.make", "os.fchmod", 1),
        ("system/files.py", "Directory.make", "os.open", 1),
        ("system/files.py", "Directory.make_directory", "os.fchmod", 1),
        ("system/files.py", "Directory.make_directory", "os.mkdir", 1),
        ("system/files.py", "Directory.make_directory", "os.open", 1),
        ("store/operate/backup.py", "_share_with_group", "os.fchmod", 1),
        ("store/operate/backup.py", "_share_with_group", "os.fchown", 1),
        ("store/lease/file_lock.py", "FileLock._made", "os.fchmod", 1),
        ("store/lease/file_lock.py", "FileLock._made", "os.fchown", 1),
    ),
    MEMORY: (
        ("store/schema/sqlite_objects.py", "_expected", "sqlite3.connect", 1),
    ),
    NAMED: (
        ("cli/input/documents.py", "_opened", "file.open", 1),
        ("config/builder.py", "_holds_something", "credential.open", 1),
        ("config/builder.py", "_is_hidden", "FilePath().parse(given.raw, given.base).open", 1),
        ("config/secret.py", "read_secret", "path.open", 1),
        ("config/toml.py", "read", "path.open", 1),
        ("destination/own_certificate.py", "_read", "file.open", 1),
        ("destination/tls.py", "_trust", "file.read_bytes", 1),
    ),
    NAMED_DIRECTORY: (
        ("cli/setup/assets.py", "_make", "directory.mkdir", 1),
        ("demo/command.py", "_directory", "keep.mkdir", 1),
    ),
    NO_FILE: (
        ("cli/commands/top.py", "Picture.draw", "part.truncate", 1),
        ("daemon/observers.py", "_opened", "server.open", 1),
        ("demo/play.py", "_Performance.run", "self._shop.open", 1),
        ("sandbox/front.py", "Front.bind", "self._listener.bind", 1),
        ("sandbox/front.py", "Front.open", "self._listener.open", 1),
        ("sandbox/listener.py", "Listener.bind", "bound.bind", 1),
        ("sandbox/listener.py", "Listener.shut", "self.bind", 1),
        ("sandbox/server.py", "Sandbox._follow_outages", "self._front.open", 1),
        ("sandbox/server.py", "Sandbox.start", "front.bind", 1),
        ("sandbox/server.py", "Sandbox.start", "front.open", 1),
        ("port/sockets.py", "bound", "taken.bind", 1),
    ),
    ONE_NAME: (
        ("store/db/sqlite/wal_files.py", "Beside._name_anew", "directory.remove", 1),
        ("store/db/sqlite/wal_files.py", "Beside._name_anew", "os.link", 1),
        ("system/files.py", "Directory.remove", "os.unlink", 1),
    ),
    PACKAGED: (
        ('cli/setup/assets.py', '_read', "files('shipper') / 'assets' / name.read_bytes", 1),
        ('cli/grammar/manual.py', 'text_of', "files('shipper') / 'manual' / f'{name}.md'.read_text", 1),
        ("cli/setup/template.py", "example", "path.read_text", 1),
        ("cli/setup/units.py", "packaged", "place_of(name).read_text", 1),
        ("system/installation.py", "_direct_url", "distribution(NAME).read_text", 1),
        ("store/schema/ddl.py", "statements", "file.read_text", 1),
    ),
    PLACE: (
        ("store/db/sqlite/place.py", "_mount_id", "os.open", 1),
    ),
    SOCKET: (
        ("port/sockets.py", "_bound_unix", "os.fchmod", 1),
        ("port/sockets.py", "_bound_unix", "taken.bind", 1),
        ("port/sockets.py", "_let_group_in", "os.chmod", 1),
    ),
    SQLITE: (
        ("store/db/sqlite/opening.py", "connect_sqlite", "_sqlite_module().connect", 1),
        ("store/db/sqlite/opening.py", "connect_draft", "_sqlite_module().connect", 1),
    ),
    STANDARD: (
        ("cli/shell.py", "_repair_streams", "Path(os.devnull).open", 1),
        ("cli/shell.py", "_discard_stdout", "os.open", 1),
        ("system/stderr.py", "flush_stderr", "Path(os.devnull).open", 1),
        ("system/files.py", "open_own", "os.open", 1),
    ),
    STEP: (
        ("system/files.py", "_reach", "os.open", 2),
        ("system/files.py", "_read_link", "os.open", 1),
    ),
    SYSTEM: (
        ("cli/setup/service.py", "_write", "place.parent.mkdir", 1),
        ("doctor/unit.py", "_runs_shipper", "unit.read_text", 1),
        ("doctor/unit.py", "_settings", "unit.read_text", 1),
        ("doctor/unit.py", "_given", "file.read_text", 1),
    ),
    UNNAMED: (
        ("cli/input/documents.py", "whole", "TemporaryFile", 1),
        ("store/operate/move.py", "move_out", "TemporaryFile", 1),
        ("demo/command.py", "_directory", "tempfile.TemporaryDirectory", 1),
    ),
}  # fmt: skip
