"""One LMDB environment per process and path; with ``rows.py`` and ``index.py`` the only code that knows LMDB.

LMDB's rules and what we do about them:
- the same files must not be opened twice in a process: `acquire` hands out one shared environment per real
  path;
- an environment must not cross a fork: the child closes it (without spare read slots, which would be the
  parent's) and opens its own at its next use. A fork waits for write transactions, which hold our mutex, and
  for readers, which stand in ``busy`` while they are inside: to close an environment in which a thread of the
  parent was reading waits for ever for that thread, and gives its read slot away. Where a reader stays inside
  too long (a collector that marks), the child leaves the environment as it is and goes without an index;
- a damaged file kills the interpreter or lies: before it is opened its length is compared with its meta
  pages, and unless it is exactly the file that the last user closed, its whole structure is checked by a
  reader in pure Python. That check needs the file for itself, so it is made only by a process that finds no
  other user;
- creation is not atomic when the disk is full: a new environment is made in ``tmp/`` and renamed;
- its writer lock waits for ever: writers take a lock of our own first, with a time limit
  (`write_lock.py`);
- who may not write cannot be in its table of readers, and writers would use pages again that he reads: he
  reads a copy (`private_copy.py`).
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager

import lmdb

from scalable_cas import clock
from scalable_cas.errors import IndexDamaged, StoreBusy, StoreReadOnly
from scalable_cas.storage import environment_files as files
from scalable_cas.storage import forking, netfs
from scalable_cas.storage.locks import LockFile
from scalable_cas.storage.write_lock import WRITE_WAIT, WRITER, WriteLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import Any

    from scalable_cas.storage.private_copy import PrivateCopy

# bytes of the lock file: of those who have it open, and of whoever folds packs at the end of a process
# (byte 1 is the `WriteLock`'s)
_USERS, FOLDER = 0, 2

#: What a bare read may raise (a grown map, stale readers); `Environment.read` has the
#: remedies. For the hot path, which cannot afford a context manager.
READ_FAULT = lmdb.Error


class MapGrown(StoreReadOnly):
    """The map was full, nothing was written, and there is room now: do it again."""


class Environment:
    """An open environment: database handles in ``db``, shared by all users in this process."""

    def __init__(self, path: str, *, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self.users = 0
        self.locks = LockFile(f"{path}/users.lock")
        self.lock = WriteLock(path, self.locks)
        self.db: dict[str, Any] = {}
        self.env: Any = None
        self.busy: list[None] = []  # an item for each thread that reads; append and pop are one step each
        self._inode = 0
        self._copy: PrivateCopy | None = None  # what is open, if it is read-only

    def open(self) -> None:
        """Check the files and open them.

        Raises:
            IndexDamaged: the files are not whole, or not LMDB's.
            StoreReadOnly: they cannot be opened for writing.
            StoreBusy: a process keeps the write lock.
        """
        if not self.read_only:
            alone = self._nobody_waits()
            try:
                files.check(self.path, alone=alone)
                # py-lmdb opens its handles in a write transaction: without our lock, and its time limit, that
                # would wait for ever, deaf to signals, for a process that was stopped inside one.
                if not self.lock.turn(WRITE_WAIT):
                    raise StoreBusy(self.path, WRITE_WAIT)
                self.env, self.db = files.open_files(self.path, read_only=False)
                self.lock.give_back()
            except BaseException:
                self.locks.close()
                raise
            self.locks.try_shared(_USERS)  # also turns our exclusive lock into a shared one
        elif netfs.file_system(self.path) in netfs.NEVER_WRITTEN:
            files.check(self.path, alone=True)
            self.env, self.db = files.open_files(f"{self.path}/data.mdb", read_only=True)
        else:
            from scalable_cas.storage.private_copy import PrivateCopy  # only then

            self._copy = PrivateCopy(self.path, WRITER, WRITE_WAIT)
            self.env, self.db = self._copy.env, self._copy.db
        self._inode = os.stat(f"{self.path}/data.mdb").st_ino

    def _nobody_waits(self) -> bool:
        # Others may be in their own check (exclusive, for milliseconds) or be users (shared, for long): only
        # the first is worth waiting for.
        if self.locks.try_exclusive(_USERS):
            return True
        deadline = clock.monotonic() + WRITE_WAIT * 12
        while not self.locks.try_shared(_USERS):
            if clock.monotonic() > deadline:
                raise StoreBusy(self.path, WRITE_WAIT * 12)
            clock.sleep(0.002)
        return False

    def close(self) -> None:
        """Close the files; the last user on this machine leaves a stamp that says how the file was left. A
        copy goes with its last reader.
        """
        if self.read_only:
            return
        if self.env is not None:
            self.env.close()
            self.env, self.db = None, {}
        try:
            if self.locks.try_exclusive(_USERS):
                files.leave_stamp(self.path)
        except (StoreReadOnly, OSError):  # no stamp only means a check at the next open
            pass
        self.locks.close()

    def after_fork(self) -> None:
        """In the child: drop everything that belongs to the parent."""
        if self.env is not None and self.busy:
            forking.abandon(self.env)
            if not self.read_only:
                _abandoned.add(self.path)
        elif self.env is not None:
            self.env.close()
        self.env, self.db = None, {}
        self.locks.after_fork()
        self.lock.after_fork()

    def is_current(self) -> bool:
        """Whether the file that is open is still the one at ``path`` (a store may be removed or rebuilt under
        us), or the copy of it that is open is still good enough.
        """
        if self._copy is not None:
            return self._copy.is_current()
        try:
            return os.stat(f"{self.path}/data.mdb").st_ino == self._inode
        except OSError:
            return False

    def read(self, work: Callable[[Any], Any]) -> Any:
        """Run ``work`` on a read transaction and hand on what it returns. Never held across user code,
        decoding or network. In one frame, as `WriteLock.run` is and why.

        Raises:
            IndexDamaged: LMDB found the file broken.
        """
        try:
            self.busy.append(None)  # within: Ctrl-C may follow it at once
            with self._begin_read() as transaction:
                return work(transaction)
        except lmdb.Error as error:
            self._give_up_after(error)
            raise IndexDamaged(self.path, str(error)) from error
        finally:
            self.busy.pop()

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """A read transaction that lasts, for the collector.

        Raises:
            IndexDamaged: as `read`.
        """
        try:
            self.busy.append(None)
            with self._begin_read() as transaction:
                yield transaction
        except lmdb.Error as error:
            self._give_up_after(error)
            raise IndexDamaged(self.path, str(error)) from error
        finally:
            self.busy.pop()

    def _give_up_after(self, error: lmdb.Error) -> None:
        # After a failed write of a meta page LMDB refuses everything, reads too, until the environment is
        # opened anew: so it is no longer current, as if the file had been replaced.
        if isinstance(error, lmdb.PanicError):
            self._inode = 0

    def _begin_read(self) -> Any:
        try:
            return self.env.begin()
        except lmdb.MapResizedError:
            self._adopt()
            return self.env.begin()
        except lmdb.InvalidParameterError:
            # Another thread is exchanging the map at this moment, and holds the mutex while it does.
            with self.lock.mutex:
                return self.env.begin()
        except lmdb.ReadersFullError:  # killed readers leave their slots behind
            self.env.reader_check()
            return self.env.begin()

    def locked(self, seconds: float = WRITE_WAIT) -> AbstractContextManager[None]:
        """The right to write, on this machine: our own lock, which comes before LMDB's and has a time limit.

        Raises:
            StoreBusy: another process keeps it for longer than ``seconds``.
            StoreReadOnly: the environment is read-only.
        """
        self._require_writable()
        return self.lock.held(seconds)

    def write(self, work: Callable[[Any], Any], seconds: float = WRITE_WAIT) -> Any:
        """Run ``work`` in a write transaction, committed and synced when it returns, undone if it raises, and
        hand on what it returns.

        Raises:
            StoreBusy, StoreReadOnly: as `locked`; also StoreReadOnly when the disk is full.
            MapGrown: nothing was written, and there is room now.
            IndexDamaged: LMDB found the file broken.
        """
        self._require_writable()

        def commit() -> Any:
            try:
                with self._begin_write() as transaction:
                    return work(transaction)
            except lmdb.MapFullError as error:
                self._grow()
                raise MapGrown(self.path, "its map was full and has been enlarged; try again") from error
            except lmdb.Error as error:
                self._give_up_after(error)
                raise files.translated(error, self.path) from error

        return self.lock.run(commit, seconds)

    def _require_writable(self) -> None:
        if self.read_only:
            raise StoreReadOnly(self.path, "it is read-only")

    def _begin_write(self) -> Any:
        if self.env is None:  # a thread of ours that is late
            raise StoreReadOnly(self.path, "it was closed meanwhile")
        try:
            return self.env.begin(write=True)
        except lmdb.MapResizedError:
            self._adopt()
            return self.env.begin(write=True)

    def _adopt(self) -> None:
        with self.lock.mutex:
            self.env.set_mapsize(0)  # take over the size that another process gave the file

    def _grow(self) -> None:
        self.env.set_mapsize(self.env.info()["map_size"] * 2)


_open_here: dict[str, Environment] = {}
_registry = threading.Lock()
_fork_hook = False


def acquire(path: str, *, read_only: bool) -> Environment:
    """The environment at ``path``, opened if this process has not done so yet. Each call needs a `release`.

    Raises:
        IndexDamaged, StoreReadOnly, StoreBusy: as `Environment.open`.
    """
    global _fork_hook
    with _registry:
        if not _fork_hook:
            os.register_at_fork(
                before=_before_fork, after_in_parent=forking.resume, after_in_child=_after_fork_child
            )
            _fork_hook = True
        real = os.path.realpath(path)
        if real in _abandoned:
            raise StoreReadOnly(real, "this process was forked while another thread was reading there")
        found = _open_here.get(real)
        # removed or made again under us: its users give it back when they notice
        if found is not None and not found.is_current():
            _open_here.pop(real)
            found = None
        if found is None:
            found = Environment(real, read_only=read_only)
            found.open()
            _open_here[real] = found
        found.users += 1
        return found


def release(environment: Environment) -> None:
    """Give an environment back; the last one to do so closes it."""
    with _registry:
        environment.users -= 1
        if environment.users <= 0:
            if _open_here.get(environment.path) is environment:
                _open_here.pop(environment.path)
            environment.close()


#: Environments that this process inherited and can neither use nor close.
_abandoned: set[str] = set()


def _before_fork() -> None:
    forking.prepare(list(_open_here.values()), WRITE_WAIT)


def _after_fork_child() -> None:
    global _registry
    forking.begin_anew()
    _registry = threading.Lock()
    for environment in list(_open_here.values()):
        environment.after_fork()
    _open_here.clear()
