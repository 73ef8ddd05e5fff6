"""The n-th change of the file system fails, or kills the process: without strace, for the changes that `storage/fs.py` makes.

A stand-in takes the place of the `os` module there. LMDB's own writes go past it; those are strace's.
"""

from __future__ import annotations

import errno
import os
import signal

from scalable_cas.storage import fs

CHANGES = (
    *("write", "writev", "pwrite", "posix_fallocate", "ftruncate", "fsync", "fdatasync", "sync"),
    *("link", "unlink", "rename", "replace", "rmdir", "mkdir", "makedirs", "chmod", "utime"),
)


class FaultyOs:
    """`os`, but the n-th call that changes something ends with `fault`: "kill" or the name of an error. `onwards`: so does every later one."""

    def __init__(self, number: int, fault: str, *, onwards: bool = False) -> None:
        self.number = number
        self.fault = fault
        self.onwards = onwards
        self.seen = 0

    def __getattr__(self, name):
        found = getattr(os, name)
        if name in CHANGES:
            return lambda *args, **kwargs: self._call(found, args, kwargs)
        if name == "open":
            return lambda path, flags, *args, **kwargs: (
                self._call if flags & os.O_CREAT else lambda call, args, kwargs: call(*args, **kwargs)
            )(found, (path, flags, *args), kwargs)
        return found

    def _call(self, call, args, kwargs):
        self.seen += 1
        if self.seen == self.number or (self.onwards and self.seen > self.number):
            if self.fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(getattr(errno, self.fault), os.strerror(getattr(errno, self.fault)))
        return call(*args, **kwargs)

    def install(self) -> None:
        fs.os = self


def install_in_child() -> None:
    """From the variable FAULTY: "NUMBER FAULT" or "NUMBER FAULT onwards"."""
    number, fault, *onwards = os.environ["FAULTY"].split()
    FaultyOs(int(number), fault, onwards=bool(onwards)).install()
