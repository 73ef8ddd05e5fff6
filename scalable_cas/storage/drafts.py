"""Unfinished files: how they are named, and which of them nobody will finish. Changes nothing."""

from __future__ import annotations

import os
from itertools import count

#: What an index consists of that a killed process left half-made in ``tmp/``.
_INDEX_FILES = frozenset(("data.mdb", "lock.mdb", "stamp"))
_numbers = count(1)  # `next` is one step of the interpreter, so two threads never get one number


def temporary_name() -> str:
    """A name in ``tmp/`` that tells whose it is: process id, its start time, a counter. See `leftovers`."""
    return f"{os.getpid()}.{start_ticks(os.getpid())}.{next(_numbers)}"


def is_temporary(name: str) -> bool:
    """Whether a name is one that `temporary_name` gives. What is called otherwise is not ours: a store may
    lie in a folder that its user has files of his own in, and nothing of them may go.
    """
    parts = name.split(".")
    return len(parts) == 3 and all(part.isascii() and part.isdigit() for part in parts)


_own_ticks: tuple[int, str] = (0, "")


def start_ticks(pid: int) -> str:
    """When a process started, in clock ticks since boot as the kernel prints it; "0" where that cannot be
    known.

    With the process id it names a process for as long as the machine runs; an id alone is used again.
    """
    global _own_ticks
    if _own_ticks[0] == pid:
        return _own_ticks[1]
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            ticks = file.read().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return "0"
    if pid == os.getpid():
        _own_ticks = (pid, ticks)
    return ticks


def leftovers(tmp: str, before: float, *, local: bool) -> list[str]:
    """Our files in ``tmp/`` that are older than ``before`` (seconds since 1970), and, where only this machine
    writes there (``local``), those whose process is gone. A folder is one only if it is a half-made index.
    """
    found = []
    for name in _names(tmp):
        if not is_temporary(name) or not _is_file_or_index(f"{tmp}/{name}"):
            continue
        pid, ticks, _ = name.split(".")
        alive = not local or start_ticks(int(pid)) == ticks != "0"
        if not alive or _older(f"{tmp}/{name}", before):
            found.append(f"{tmp}/{name}")
    return sorted(found)


def set_aside(folder: str, before: float) -> list[str]:
    """The damaged files in ``quarantine/`` that were last changed before ``before`` (seconds since 1970):
    objects, packs and segments, by their names. A folder that stood in the place of one stays.
    """
    return sorted(
        path
        for name in _names(folder)
        if is_set_aside(name) and _older(path := f"{folder}/{name}", before) and not _is_folder(path)
    )


def is_set_aside(name: str) -> bool:
    """Whether a damaged object, pack or segment is called so in ``quarantine/``, the second of a name too."""
    parts = name.split(".")
    if len(parts) > 3 and is_temporary(".".join(parts[-3:])):
        del parts[-3:]
    stem, *suffix = parts
    plain = len(stem) in (32, 64) and not set(stem) - set("0123456789abcdef")
    return plain and suffix in ([], ["pack"], ["seg"])


def _is_file_or_index(path: str) -> bool:
    try:
        return _names(path) <= _INDEX_FILES
    except PermissionError:  # somebody else's folder
        return False


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _names(folder: str) -> frozenset[str]:
    """What is in a folder; nothing if it is none."""
    try:
        return frozenset(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()


def _older(path: str, before: float) -> bool:
    try:
        return os.lstat(path).st_mtime < before
    except FileNotFoundError:
        return False
