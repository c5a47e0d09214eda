"""Every place in the package where a file is opened, made, named, changed or removed, by its source.

The list in `touches` says of each why nobody else can choose what it does that to; a test compares
the two, so that none is forgotten.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "shipper"

# Of `os`, `shutil`, `tempfile`, and of paths, files, sockets and drivers, whatever they are called.
_CALLS = frozenset({
    "open", "fdopen", "chmod", "fchmod", "lchmod", "chown", "fchown", "lchown", "link", "symlink",
    "hardlink_to", "symlink_to", "rename", "renames", "unlink", "rmdir", "removedirs", "rmtree",
    "mkdir", "makedirs", "mkfifo", "mknod", "touch", "truncate", "ftruncate", "posix_fallocate",
    "pwrite", "write_text", "write_bytes", "read_text", "read_bytes", "copyfile", "copy2",
    "copytree", "mkstemp", "mkdtemp", "NamedTemporaryFile", "TemporaryFile",
    "TemporaryDirectory", "bind", "setxattr", "utime",
})  # fmt: skip
# Of these names only what these have: others are of texts, lists, sessions and servers.
_OF = {
    "replace": {"os"},
    "remove": {"os", "directory", "sockets", "self._inside"},
    "connect": {"sqlite3", "_sqlite_module()"},
    "copy": {"shutil"},
    "move": {"shutil"},
}


def touches(package: Path = PACKAGE) -> Counter[tuple[str, str, str]]:
    """Return how often each module's each function has each call."""
    found: Counter[tuple[str, str, str]] = Counter()
    for path in sorted(package.rglob("*.py")):
        name = str(path.relative_to(package))
        found.update((name, where, call) for where, call in _in(ast.parse(path.read_bytes()), ""))
    return found


def _in(node: ast.AST, where: str) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        inside = where
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inside = f"{where}.{child.name}".lstrip(".")
        elif isinstance(child, ast.Call) and (call := _touched(child)):
            yield where, call
        yield from _in(child, inside)


def _touched(call: ast.Call) -> str | None:
    """Return the words of a call that touches a file, None for any other."""
    match call.func:
        case ast.Name(id="open" | "TemporaryFile" | "TemporaryDirectory" as name):
            return name
        case ast.Attribute(value=value, attr=name):
            of = ast.unparse(value)
            # A text's `replace` takes two arguments, a moment's takes names.
            renames = name == "replace" and len(call.args) == 1
            if name in _CALLS or renames or of in _OF.get(name, ()):
                return f"{of}.{name}"
    return None
