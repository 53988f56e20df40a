"""Files that are whole or not there, that one process writes, and that are told apart by a hash."""

import ast
import hashlib
import os
import platform
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from common.errors import InputError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it: no reader finds half a file.

    The folder is made if it is missing. If OSError is raised, an older file is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")  # no other program's
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        replace(temporary, path)
    except OSError as error:
        error.filename = str(path)  # not the temporary name, or none
        raise
    finally:
        with suppress(OSError):  # of a file system that cannot be written
            temporary.unlink(missing_ok=True)


def replace(source: Path, target: Path) -> None:
    """Rename a file, over an older one; for about a second, try again.

    On Windows, a virus scanner or an indexer may hold either file for a moment.
    """
    for pause in (0.01, 0.05, 0.1, 0.2, 0.3, 0.4):
        try:
            os.replace(source, target)
            return
        except OSError:
            time.sleep(pause)
    os.replace(source, target)


@contextmanager
def only_process(name: str, out: Path) -> Iterator[None]:
    """Let one process at a time write a run of a name into a folder; InputError in the others.

    The lock is the system's: it ends with its process, however that ends.
    """
    out.mkdir(parents=True, exist_ok=True)
    owner = out / f".{name}.process"
    try:
        with FileLock(out / f".{name}.lock", blocking=False):
            date = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
            write_whole(owner, f"process {os.getpid()} on {platform.node()}, {date}".encode())
            for left in out.glob(f".{name}.*.part"):  # by a process that was killed
                left.unlink()
            yield
    except Timeout:
        first = owner.read_text(encoding="utf-8") if owner.exists() else "another process"
        hint = "wait for it, or give another --out"
        raise InputError(f"{out} is in use by another run of {name} ({first}): {hint}") from None


def file_hash(path: Path) -> str:
    """Return the first 12 hexadecimal digits of a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def script_hash(script: Path) -> str:
    """Return a short hash of what a Python script does: comments and docstrings do not count."""
    tree = ast.parse(script.read_bytes(), str(script))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):  # noqa: SIM102
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:12]
