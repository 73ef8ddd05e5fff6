"""Locks that the kernel frees when their owner dies: byte ranges of one file, owned by the open file
description.

Lock files named after pids or leases go stale and need a human or a clock. ``flock`` locks a whole file, and
classic POSIX locks vanish when any descriptor of the file is closed. Open-file-description locks (Linux) have
neither fault. Elsewhere classic locks serve: each file is opened once per process here, so their fault does
not show.

A child must not keep the parent's description: it would hold the parent's locks after the parent died.
`LockFile.after_fork` closes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
from struct import Struct

from scalable_cas import clock
from scalable_cas.storage import fs
from scalable_cas.storage.faults import unwritable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_FLOCK = Struct("@hhqqi0q")  # struct flock on Linux: type, whence, start, length, pid
_OFD_SETLK: int | None = getattr(fcntl, "F_OFD_SETLK", None)
_HELD = frozenset((errno.EACCES, errno.EAGAIN))


def _open_to_read(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise unwritable(error, path) from error


class LockFile:
    """A file whose bytes are locks. Opened at first use, and again after a fork."""

    def __init__(self, path: str, *, read_only: bool = False) -> None:
        self.path = path
        self._fd = -1
        self._read_only = read_only  # of somebody else: only shared locks can be had

    @property
    def fd(self) -> int:
        """The descriptor.

        Raises:
            StoreReadOnly: the file cannot be made, or read.
        """
        if self._fd < 0:
            self._fd = _open_to_read(self.path) if self._read_only else fs.open_lock(self.path)
        return self._fd

    def _set(self, kind: int, start: int, length: int) -> bool:
        try:
            if _OFD_SETLK is not None:
                fcntl.fcntl(self.fd, _OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
            else:
                modes = {
                    fcntl.F_WRLCK: fcntl.LOCK_EX | fcntl.LOCK_NB,
                    fcntl.F_RDLCK: fcntl.LOCK_SH | fcntl.LOCK_NB,
                    fcntl.F_UNLCK: fcntl.LOCK_UN,
                }
                fcntl.lockf(self.fd, modes[kind], length, start)
        except OSError as error:
            if error.errno in _HELD:
                return False
            raise unwritable(error, self.path) from error
        return True

    def try_exclusive(self, start: int, length: int = 1) -> bool:
        """Take a range for this process alone; False if another one has any of it. Replaces a shared lock of
        ours.
        """
        return self._set(fcntl.F_WRLCK, start, length)

    def try_shared(self, start: int, length: int = 1) -> bool:
        """Take a range together with others; False if another process has it alone."""
        return self._set(fcntl.F_RDLCK, start, length)

    def release(self, start: int, length: int = 1) -> None:
        """Give a range back."""
        if self._fd >= 0:
            self._set(fcntl.F_UNLCK, start, length)

    def exclusive_within(self, start: int, seconds: float) -> bool:
        """Take a range for this process alone, trying for ``seconds``; False if it could not be had."""
        return self._within(self.try_exclusive, start, seconds)

    def shared_within(self, start: int, seconds: float) -> bool:
        """The same, together with others."""
        return self._within(self.try_shared, start, seconds)

    def _within(self, take: Callable[[int], bool], start: int, seconds: float) -> bool:
        # Polling, with pauses from 0.2 to 10 ms: the blocking call cannot be given a time limit without a
        # signal.
        deadline = clock.monotonic() + seconds
        pause = 0.0002
        while not take(start):
            if clock.monotonic() >= deadline:
                return False
            clock.sleep(pause)
            pause = min(pause * 1.5, 0.01)
        return True

    def close(self) -> None:
        """Close the file and so give every lock back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    after_fork = close  # in the child: the parent's description keeps the parent's locks
