"""Single flight: of several calls of one key, in threads, tasks and processes on one machine, one runs the
function.

The owner of a key holds a byte-range lock that the kernel frees when its process dies, so a kill leaves
nothing to clean up. Inside a process a dictionary does the same for threads and tasks (a process never
conflicts with its own lock). Those who wait poll the index, because that is where the result appears; a lock
that can be had without a result means that the owner died or failed.

The wait is bounded. An owner that is alive may rightly take hours, so the bound grows with what is known of
the function; an owner that is *stopped* (debugger, frozen job) is not waited for: its process id stands in a
small table at the start of the lock file, and ``/proc`` tells. Computing twice is always safe, so every doubt
ends in computing.
"""

from __future__ import annotations

import os
import threading
from contextvars import ContextVar
from struct import Struct

from scalable_cas import clock
from scalable_cas.errors import StoreReadOnly
from scalable_cas.storage import fs
from scalable_cas.storage.locks import LockFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_PID = Struct("<I")
# of four bytes: one page table of owners' ids; two keys in one slot only cost a wrong guess about "stopped"
_SLOTS = 4096
# locks lie beyond the table, one byte for each value of five bytes of the key
_FIRST_LOCK, _LAST_LOCK = 1 << 20, (1 << 20) + (1 << 40)
#: The locks are spread over so many files, opened when they are needed. The kernel walks all locks of a file
#: to take one: with 1,000 results on the way, of one process or of eight, that took 28 µs of each new entry.
FILES = 16
#: Waiting starts at half a millisecond and grows to 20 ms: a poll costs some µs, a result is seen at most 20
#: ms late.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.02
_STOPPED_AFTER = 2.0  # seconds of waiting after which we look whether the owner is stopped
#: The keys that are being computed further up, also where a task or a thread is started in between that gets
#: a copy of the context: to wait there for the result would be to wait for oneself.
computing: ContextVar[tuple[bytes, ...]] = ContextVar("computing", default=())
_SHORTEST_BOUND, _LONGEST_BOUND, _UNKNOWN_BOUND = 60.0, 24 * 3600.0, 3600.0


def wait_bound(known_seconds: float | None) -> float:
    """How long to wait for a living owner: three times the function's longest known run, between a minute and
    a day; an hour if nothing is known.
    """
    if known_seconds is None:
        return _UNKNOWN_BOUND
    return min(max(3 * known_seconds, _SHORTEST_BOUND), _LONGEST_BOUND)


class Flights:
    """The keys that this process is computing now."""

    def __init__(self, path: str) -> None:
        self._files = tuple(LockFile(f"{path}.{n}" if n else path) for n in range(FILES))
        self._owners: dict[bytes, object] = {}
        self._closed = False
        self._mutex = threading.Lock()

    def try_enter(self, rowkey: bytes, owner: object) -> bool:
        """Become the one who computes this key; False if somebody else is. Give it back with `leave`."""
        start, locks = _place(rowkey), self._files[rowkey[13] % FILES]
        with self._mutex:  # `close` waits for it too, so that the file is not closed between lock and poke
            if (
                self._closed
            ):  # the store was removed and opened anew meanwhile: a lock taken now would stay for ever
                return True
            if rowkey in self._owners:
                return False
            try:
                entered = locks.try_exclusive(start)
                if entered:
                    fs.poke(locks.fd, 4 * (start % _SLOTS), _PID.pack(os.getpid()))
            # no lock file, so no single flight across processes; within this one it still works
            except (StoreReadOnly, OSError):
                entered = True
            if entered:
                self._owners[rowkey] = owner
            return entered

    def owner(self, rowkey: bytes) -> object | None:
        """Who in this process computes the key."""
        return self._owners.get(rowkey)

    def leave(self, *rowkeys: bytes) -> None:
        """Give keys back: their results are visible, or there will be none. After a batch, usually in one
        call.
        """
        with self._mutex:
            held = [rowkey for rowkey in rowkeys if self._owners.pop(rowkey, None) is not None]
            if len(held) > 1 and not self._owners:
                for locks in self._files:
                    locks.release(_FIRST_LOCK, _LAST_LOCK - _FIRST_LOCK)
                return
            for rowkey in held:
                self._files[rowkey[13] % FILES].release(_place(rowkey))

    def owner_stopped(self, rowkey: bytes) -> bool:
        """Whether the process that computes the key is known to be stopped."""
        if rowkey in self._owners:
            return False
        try:
            table = self._files[rowkey[13] % FILES].fd
            (pid,) = _PID.unpack(os.pread(table, 4, 4 * (_place(rowkey) % _SLOTS)).ljust(4, b"\0"))
            with open(f"/proc/{pid}/stat", "rb") as file:
                state = file.read().rpartition(b")")[2].split()[0]
        except (OSError, StoreReadOnly, IndexError):
            return False
        return state in (b"T", b"t")

    def after_fork(self) -> None:
        """In the child: nothing is computed here, and the parent's locks are not ours."""
        self._owners.clear()
        self._mutex = threading.Lock()
        for locks in self._files:
            locks.after_fork()

    def close(self) -> None:
        """Give everything back."""
        with self._mutex:
            self._closed = True
            self._owners.clear()
            for locks in self._files:
                locks.close()


def _place(rowkey: bytes) -> int:
    return _FIRST_LOCK + int.from_bytes(rowkey[8:13], "little")


class Flight:
    """The part of one caller, at one key: to enter, or to wait, and to leave in any case. ``coming``: results
    on their way to the files, by key.
    """

    __slots__ = ("_coming", "_flights", "_me", "_rowkey")

    def __init__(self, flights: Flights, rowkey: bytes, me: object, coming: Mapping[bytes, object]) -> None:
        self._flights = flights
        self._rowkey = rowkey
        self._me = me
        self._coming = coming

    def try_enter(self) -> bool:
        """As `Flights.try_enter`."""
        return self._flights.try_enter(self._rowkey, self._me)

    def waiting(self, bound: float) -> Waiting:
        """The pauses of this caller, if it could not enter."""
        return Waiting(self._flights, self._rowkey, bound)

    def leave(self) -> None:
        """Give the key back if this caller has it. With a result on its way, those who write that do."""
        if self._flights.owner(self._rowkey) == self._me and self._rowkey not in self._coming:
            self._flights.leave(self._rowkey)


class Waiting:
    """The pauses of one waiter: ``pause()`` says how long to sleep next, or None once it should compute by
    itself.
    """

    __slots__ = ("_bound", "_checked", "_flights", "_pause", "_rowkey", "_since")

    def __init__(self, flights: Flights, rowkey: bytes, bound: float) -> None:
        self._flights = flights
        self._rowkey = rowkey
        self._bound = bound
        self._pause = _FIRST_PAUSE
        self._since = self._checked = clock.monotonic()

    def pause(self) -> float | None:
        """Seconds to sleep before the next look, or None if the wait is over."""
        now = clock.monotonic()
        if now - self._since > self._bound:
            return None
        if now - self._checked > _STOPPED_AFTER:
            self._checked = now
            if self._flights.owner_stopped(self._rowkey):
                return None
        pause = self._pause
        self._pause = min(pause * 1.5, _LONGEST_PAUSE)
        return pause
