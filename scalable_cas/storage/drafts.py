"""Unfinished files: how they are named, and which of them nobody will finish. Changes nothing."""

from __future__ import annotations

import os
from itertools import count

_numbers = count(1)  # `next` is one step of the interpreter, so two threads never get one number


def temporary_name() -> str:
    """A name in ``tmp/`` that tells whose it is: process id, its start time, a counter. See `leftovers`."""
    return f"{os.getpid()}.{start_ticks(os.getpid())}.{next(_numbers)}"


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
    """The files in ``tmp/`` that are older than ``before`` (seconds since 1970), and, where only this machine
    writes there (``local``), those whose process is gone.
    """
    found = []
    for name in _names(tmp):
        pid, _, rest = name.partition(".")
        ticks = rest.partition(".")[0]
        alive = not local or (pid.isdigit() and start_ticks(int(pid)) == ticks != "0")
        if not alive or _older(f"{tmp}/{name}", before):
            found.append(f"{tmp}/{name}")
    return sorted(found)


def older_files(folder: str, before: float) -> list[str]:
    """The files in ``folder`` that were last changed before ``before`` (seconds since 1970)."""
    return sorted(f"{folder}/{name}" for name in _names(folder) if _older(f"{folder}/{name}", before))


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _older(path: str, before: float) -> bool:
    try:
        return os.lstat(path).st_mtime < before
    except FileNotFoundError:
        return False
