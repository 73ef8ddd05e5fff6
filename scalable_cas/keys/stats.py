"""What a file's stat tells of its content: nothing by itself, and enough once the content was read.

The problem: a function with a 10 GB input should not read 10 GB at each hit. The naive way, to remember the
digest under path, size and mtime, gives wrong values: mtime can be set (``cp -p``, ``touch -r``); a file that
is written twice within one tick of the file system's clock has one stat for two contents; a page written
through a memory map keeps its old time until it was flushed. What we do: a digest is remembered under
(device, inode, size, mtime, ctime), ctime being what no program can set, and only where all of this holds:

- the newer of mtime and ctime lies a *window* before the moment at which we began to read, so that whoever
  writes after our look gets another time. That also leaves out times in the future and a ctime of 0;
- the clock does not stand before that moment: if it was set back, old times are handed out again;
- the file system is known to keep a ctime, and to count what is written through a memory map as a write;
- a file that was written a moment ago is in no shared memory map of this process: a page that is dirty
  already is written without a new time, until it is flushed (ext4: seen; half a minute by default).

On a network file system the client may give us an old stat; opening the file makes it ask. So there the stat
is that of an open descriptor, and only the reading is saved.

Here is the rule, and a memory of this process. Rows that outlive it, and what is known of file systems, come
from whoever calls ``memory.attach`` (`Rows`); without them nothing is ever remembered.
"""

from __future__ import annotations

import os

from scalable_cas import clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    Signature = tuple[int, int, int, int, int]  # dev, ino, size, mtime_ns, ctime_ns
    #: window in ns; size in bytes below which reading is as cheap; whether only an open file has a true stat
    Trust = tuple[int, int, bool]
    #: stat, when it was remembered (ns since 1970), digest
    Known = tuple[Signature, int, bytes]

    class Rows(Protocol):
        """Where digests outlive the process. Never raises, and never waits for a disk's commit."""

        def get(self, path: str) -> Known | None:
            """What was remembered of the file at an absolute path; None also for a row that is damaged."""

        def put(self, path: str, known: Known) -> None:
            """Remember it, some time soon; it may be forgotten at any time."""

        def trust(self, path: str) -> Trust | None:
            """How far the stats of the file system that holds ``path`` can be trusted; None: not at all."""


#: Files remembered in this process, of about 400 bytes each.
MOST = 20_000
#: After this no page that was written through a map is still dirty (Linux flushes after 30 + 5 s by default).
SETTLED = 60 * 10**9
#: Seconds after which it is looked up again what a device is: it may have been mounted anew.
_MOUNTED = 60.0


def signature_of(found: os.stat_result) -> Signature:
    """The parts of a stat that change with the content."""
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Memory:
    """The stat cache of this process. ``quick``: path as it was given -> what is known of a local file. A
    relative path may mean another file by now; but then it has another inode.
    """

    def __init__(self) -> None:
        self.quick: dict[str, Known] = {}
        self._opened: dict[str, Known] = {}  # the same for files whose stat must come from a descriptor
        self.rows: Rows | None = None
        self._devices: dict[int, Trust | None] = {}
        self._asked = 0.0

    def attach(self, rows: Rows | None) -> None:
        """From now on remember in ``rows``; None: remember nothing, and forget what is known."""
        if rows is None:
            self.quick.clear()
            self._opened.clear()
            self._devices.clear()
        self.rows = rows

    def trust(self, path: str, found: os.stat_result) -> Trust | None:
        """How far the stat of a file can be trusted; None: its content has to be read."""
        trust = self.trust_in_device(path, found)
        return None if trust is None or found.st_size < trust[1] else trust

    def trust_in_device(self, path: str, found: os.stat_result) -> Trust | None:
        """The same for what lies beside it, of whatever size."""
        rows = self.rows
        if rows is None:
            return None
        now = clock.monotonic()
        if now - self._asked > _MOUNTED:
            self._devices.clear()
            self._asked = now
        try:
            trust = self._devices[found.st_dev]
        except KeyError:
            trust = self._devices[found.st_dev] = rows.trust(_absolute(path))
        return trust

    def find(self, path: str, seen: Signature, trust: Trust) -> bytes | None:
        """The digest of the file at ``path``, whose stat is ``seen`` now; None: read it."""
        near = self._opened if trust[2] else self.quick
        known = near.get(path)
        if known is None or known[0] != seen:
            rows = self.rows
            known = rows.get(_absolute(path)) if rows is not None else None
            if known is None or known[0] != seen:
                return None
            _put(near, path, known)
        return known[2] if known[1] <= clock.now_ns() else None

    def keep(self, path: str, seen: Signature, digest: bytes, began: int, trust: Trust) -> None:
        """Remember a digest, if the rule allows. ``began``: the time before the file was opened."""
        changed = max(seen[3], seen[4])
        if seen[4] <= 0 or changed >= began - trust[0]:
            return
        if changed >= began - SETTLED and _is_mapped(seen[1]):
            return
        known = (seen, began, digest)
        _put(self._opened if trust[2] else self.quick, path, known)
        rows = self.rows
        if rows is not None:
            rows.put(_absolute(path), known)


def _put(near: dict[str, Known], path: str, known: Known) -> None:
    if len(near) >= MOST:
        near.clear()
    near[path] = known


def _absolute(path: str) -> str:
    return path if path.startswith(os.sep) else os.path.join(os.getcwd(), path)


def _is_mapped(inode: int) -> bool:
    """Whether this process has a shared memory map of a file with this inode number. 50 µs."""
    mapped = mapped_inodes()
    return mapped is None or inode in mapped


def mapped_inodes() -> set[int] | None:
    """The inode numbers of files that this process has shared memory maps of; None: it cannot be told."""
    found = set()
    try:
        with open("/proc/self/maps", "rb") as maps:
            for line in maps:
                fields = line.split(None, 5)
                if fields[1].endswith(b"s"):
                    found.add(int(fields[4]))
    except OSError:
        return None
    return found


memory = Memory()
