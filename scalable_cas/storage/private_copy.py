"""A private copy of an index that this process may read but not write, and so cannot lock.

LMDB's readers stand in a table in its lock file. A writer who does not find a reader there uses its pages
again under it, and what the reader meets then kills the interpreter. So such a reader takes a copy, into a
file without a name, which goes with it.

While a file is copied others may commit. A commit leaves the pages of the one before it as they are, and
those of the one before that may be used again; so a copy is good if at its end no more than one commit has
been made since its start. Writers who commit all the time are held off for as long as it takes: a shared lock
needs no right to write. Unless the file is as its last user closed it, the structure of the copy is checked.
"""

from __future__ import annotations

import os
import tempfile

from scalable_cas import clock
from scalable_cas.errors import IndexDamaged, ScalableCasError, StoreBusy, StoreReadOnly
from scalable_cas.storage import environment_files as files
from scalable_cas.storage import fs
from scalable_cas.storage.faults import unwritable
from scalable_cas.storage.locks import LockFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: How often a copy is tried: once beside the writers, then while they wait.
TRIES = 4
#: An index that changed is copied again after this many seconds at the earliest, and after so many times what
#: the last copy took: 5 % of the time at most.
AGE, SHARE = 1.0, 20


class PrivateCopy:
    """A copy of the index at ``path``, open in LMDB: ``env``, ``db``. It is closed when nobody has it any
    more, so that no reader needs to be waited for.

    Raises:
        IndexDamaged: it is not whole.
        StoreBusy: others write to it all the time.
        StoreReadOnly: there is no place for a copy.
    """

    def __init__(self, path: str, writer_lock: int, seconds: float) -> None:
        self._path = path
        started = clock.monotonic()
        fault: ScalableCasError = StoreBusy(path, seconds)
        for attempt in range(TRIES):
            fd, self._seen, commits = self._copy(writer_lock, seconds if attempt else 0.0)
            try:
                if commits > 1:
                    continue
                self.env, self.db = self._open(fd, untouched=commits == 0)
            except IndexDamaged as error:
                fault = error
                continue
            finally:
                os.close(fd)
            break
        else:
            raise fault
        now = clock.monotonic()
        self._due = now + max(AGE, SHARE * (now - started))

    def _copy(self, writer_lock: int, seconds: float) -> tuple[int, os.stat_result, int]:
        """A copy, what the file was at its start, and how many commits have been made since."""
        locks = LockFile(f"{self._path}/users.lock", read_only=True)
        try:
            if seconds:
                _hold(locks, writer_lock, seconds)
            source = os.open(f"{self._path}/data.mdb", os.O_RDONLY | os.O_CLOEXEC)
            try:
                seen = os.fstat(source)
                before, _ = files.newest(os.pread(source, files.META_BYTES, 0), self._path)
                fd = nameless_copy(source)
                pages = os.pread(source, files.META_BYTES, 0)
            finally:
                os.close(source)
        except PermissionError as error:  # somebody else's
            raise StoreReadOnly(self._path, error.strerror or str(error), cannot="read") from error
        except OSError as error:
            raise IndexDamaged(self._path, error.strerror or str(error)) from error
        finally:
            locks.close()
        try:
            after, _ = files.newest(pages, self._path)
        except IndexDamaged:
            os.close(fd)
            raise
        return fd, seen, after - before

    def _open(self, fd: int, *, untouched: bool) -> tuple[Any, dict[str, Any]]:
        copy = f"/dev/fd/{fd}"
        _, least = files.newest(os.pread(fd, files.META_BYTES, 0), self._path)
        short = os.fstat(fd).st_size < least
        if short or not (untouched and files.is_as_left(self._path, self._seen)):
            files.check_structure(copy, self._path)
        return files.open_files(copy, read_only=True)

    def is_current(self) -> bool:
        """False once the index is another file, or has changed and may be copied again."""
        try:
            now = os.stat(f"{self._path}/data.mdb")
        except OSError:
            return False
        seen = self._seen
        if now.st_ino != seen.st_ino:
            return False
        changed = (now.st_mtime_ns, now.st_size) != (seen.st_mtime_ns, seen.st_size)
        return not changed or clock.monotonic() < self._due


def _hold(locks: LockFile, writer_lock: int, seconds: float) -> None:
    try:
        locks.shared_within(writer_lock, seconds)
    except ScalableCasError:  # no lock file, or no locks on this file system: it may come out well without
        pass


def nameless_copy(source: int) -> int:
    """Copy an open file, from its start, into one that has no name and goes with its last user; returns its
    descriptor. It lies where temporary files do, or in memory where those have no place.

    Raises:
        StoreReadOnly: neither can hold it.
    """
    try:
        try:
            with tempfile.TemporaryFile() as file:
                _copy(source, file.fileno())
                return os.dup(file.fileno())
        except OSError:
            if not hasattr(os, "memfd_create"):
                raise
        fd = os.memfd_create("scalable-cas")
        try:
            _copy(source, fd)
        except BaseException:
            os.close(fd)
            raise
    except OSError as error:
        raise unwritable(error, "the folder for temporary files") from error
    return fd


def _copy(source: int, target: int) -> None:
    at = 0
    while data := os.pread(source, 1 << 20, at):
        fs.write_all(target, (data,))
        at += len(data)
