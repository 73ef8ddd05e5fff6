"""The right to write to an index: a mutex between the threads of a process, a byte of a lock file between
processes, both with a time limit; LMDB's own lock, which has none, is taken under it.

What Ctrl-C cuts short is given back. Python looks for signals after each call, so also between taking a lock
and noting that, and when a context manager that is written in Python is entered or left; and the frames of
what was interrupted live on in the traceback that a notebook keeps. So `WriteLock.run` does all in one frame.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager

from scalable_cas.errors import StoreBusy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from scalable_cas.storage.locks import LockFile

#: A writer that cannot get the lock for this long computes without storing. A group commit takes
#: milliseconds.
WRITE_WAIT = 5.0
#: A writer waits this many times as long while others get their turn. Sixteen threads that read through a
#: remote at once, on a busy disk, needed more than once; so did eight processes on two overloaded cores.
MOST_QUEUED = 12

WRITER = 1  # a byte of the lock file; its byte 0 is the environment's


class WriteLock:
    """The right to write to the index in the folder ``path``. May be taken again by a thread that has it."""

    def __init__(self, path: str, locks: LockFile) -> None:
        self.path = path
        self.mutex = threading.RLock()  # one writer per process at a time; held across forks
        self._locks = locks
        self._depth = 0  # how often this process holds the right, one inside the other
        self._turns = 0  # how often it has had it

    def run(self, work: Callable[[], Any], seconds: float) -> Any:
        """Run ``work`` with the right to write, and hand on what it returns.

        Raises:
            StoreBusy: another process keeps it for longer than ``seconds``.
        """
        taken: list[bool] = []
        try:
            self._queue(seconds, taken)
            try:
                self._wait_for_turn(seconds)
                self._depth += 1
                try:
                    return work()
                finally:
                    self._depth -= 1
                    self._turns += 1
            finally:
                try:
                    self._end_turn()
                except BaseException:  # Ctrl-C, perhaps before it began
                    self._end_turn()
                    raise
        finally:
            if taken and taken[-1]:  # no call here: there Ctrl-C would be noticed
                self.mutex.release()

    @contextmanager
    def held(self, seconds: float) -> Iterator[None]:
        """The same for a block, of a command: what interrupts that ends the process.

        Raises:
            StoreBusy: as `run`.
        """
        taken: list[bool] = []
        try:
            self._queue(seconds, taken)
            try:
                self._wait_for_turn(seconds)
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1
                    self._turns += 1
            finally:
                self._end_turn()
        finally:
            if taken and taken[-1]:  # no call here: there Ctrl-C would be noticed
                self.mutex.release()

    def after_fork(self) -> None:
        """In the child: nothing is held here."""
        self.mutex = threading.RLock()
        self._depth = 0

    def _queue(self, seconds: float, taken: list[bool]) -> None:
        """Take the mutex. The time limit is for neighbours that were stopped; threads of our own that get
        their turn one after the other, each with a commit to the disk, are no reason to give up, nor is one
        that waits for neighbours who do. ``taken`` gets a true item exactly if it was taken.
        """
        for _ in range(MOST_QUEUED):
            before = self._turns, self._written()
            taken.extend(map(self.mutex.acquire, (True,), (seconds,)))  # one step, see above
            if taken[-1]:
                return
            if before == (self._turns, self._written()):
                break
        raise StoreBusy(self.path, seconds)

    def _wait_for_turn(self, seconds: float) -> None:
        if self._depth == 0 and not self.turn(seconds):
            raise StoreBusy(self.path, seconds)

    def _end_turn(self) -> None:
        if self._depth == 0:
            self.give_back()

    def turn(self, seconds: float) -> bool:
        """Take the lock between processes; False if a neighbour keeps it. As in `_queue`, those that write
        one after the other are no reason to give up.
        """
        for _ in range(MOST_QUEUED):
            written = self._written()
            if self._locks.exclusive_within(WRITER, seconds):
                return True
            if written == self._written():
                break
        return False

    def give_back(self) -> None:
        """Give the lock between processes back."""
        self._locks.release(WRITER)

    def _written(self) -> int:
        """When anybody committed last."""
        try:
            return os.stat(f"{self.path}/data.mdb").st_mtime_ns
        except OSError:  # not there yet, or no longer: whoever opens or uses it says so
            return 0
