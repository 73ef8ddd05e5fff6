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
  (`Environment.writing`);
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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from scalable_cas.storage.private_copy import PrivateCopy

#: A writer that cannot get the lock for this long computes without storing. A group commit takes
#: milliseconds.
WRITE_WAIT = 5.0
#: A writer waits this many times as long while others get their turn. Sixteen threads that read through a
#: remote at once, on a busy disk, needed more than once; so did eight processes on two overloaded cores.
MOST_QUEUED = 12

# magic, version, address, map size; then two tables of 48 bytes, the last page, the transaction
_USERS, _WRITER = 0, 1  # bytes of the lock file
FOLDER = 2  # the same, for whoever folds packs at the end of a process


#: What a bare read may raise (a grown map, stale readers); `Environment.reading` has the
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
        self.mutex = threading.RLock()  # one writer per process at a time; held across forks
        self.locks = LockFile(f"{path}/users.lock")
        self.db: dict[str, Any] = {}
        self.env: Any = None
        self.busy: list[None] = []  # an item for each thread that reads; append and pop are one step each
        self._inode = 0
        self._copy: PrivateCopy | None = None  # what is open, if it is read-only
        self._depth = 0  # how often this process holds the right to write, one inside the other
        self._turns = 0  # how often it has had it

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
                if not self._turn(WRITE_WAIT):
                    raise StoreBusy(self.path, WRITE_WAIT)
                self.env, self.db = files.open_files(self.path, read_only=False)
                self.locks.release(_WRITER)
            except BaseException:
                self.locks.close()
                raise
            self.locks.try_shared(_USERS)  # also turns our exclusive lock into a shared one
        elif netfs.file_system(self.path) in netfs.NEVER_WRITTEN:
            files.check(self.path, alone=True)
            self.env, self.db = files.open_files(f"{self.path}/data.mdb", read_only=True)
        else:
            from scalable_cas.storage.private_copy import PrivateCopy  # only then

            self._copy = PrivateCopy(self.path, _WRITER, WRITE_WAIT)
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
        self.mutex = threading.RLock()
        self._depth = 0

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

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """A read transaction. Never held across user code, decoding or network.

        Raises:
            IndexDamaged: LMDB found the file broken.
        """
        self.busy.append(None)
        try:
            transaction = self._begin_read()
            try:
                yield transaction
            finally:
                transaction.abort()
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
            with self.mutex:
                return self.env.begin()
        except lmdb.ReadersFullError:  # killed readers leave their slots behind
            self.env.reader_check()
            return self.env.begin()

    @contextmanager
    def locked(self, seconds: float = WRITE_WAIT) -> Iterator[None]:
        """The right to write, on this machine: our own lock, which comes before LMDB's and has a time limit.

        Raises:
            StoreBusy: another process keeps it for longer than ``seconds``.
            StoreReadOnly: the environment is read-only.
        """
        if self.read_only:
            raise StoreReadOnly(self.path, "it is read-only")
        self._queue(seconds)
        try:
            if self._depth == 0 and not self._turn(seconds):
                raise StoreBusy(self.path, seconds)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._turns += 1
                    self.locks.release(_WRITER)
        finally:
            self.mutex.release()

    def _queue(self, seconds: float) -> None:
        """Take the mutex. The time limit is for neighbours that were stopped; threads of our own that get
        their turn one after the other, each with a commit to the disk, are no reason to give up, nor is one
        that waits for neighbours who do.
        """
        for _ in range(MOST_QUEUED):
            before = self._turns, self._written()
            if self.mutex.acquire(timeout=seconds):
                return
            if before == (self._turns, self._written()):
                break
        raise StoreBusy(self.path, seconds)

    def _turn(self, seconds: float) -> bool:
        """Take the lock between processes; False if a neighbour keeps it. As in `_queue`, those that write
        one after the other are no reason to give up.
        """
        for _ in range(MOST_QUEUED):
            written = self._written()
            if self.locks.exclusive_within(_WRITER, seconds):
                return True
            if written == self._written():
                break
        return False

    def _written(self) -> int:
        """When anybody committed last."""
        try:
            return os.stat(f"{self.path}/data.mdb").st_mtime_ns
        except OSError:  # not there yet, or no longer: whoever opens or uses it says so
            return 0

    @contextmanager
    def writing(self, seconds: float = WRITE_WAIT) -> Iterator[Any]:
        """A write transaction: committed and synced at the end of the block, undone if the block raises.

        Raises:
            StoreBusy, StoreReadOnly: as `locked`; also StoreReadOnly when the disk is full.
            MapGrown: nothing was written, and there is room now.
            IndexDamaged: LMDB found the file broken.
        """
        with self.locked(seconds):
            try:
                transaction = self._begin_write()
                try:
                    yield transaction
                except BaseException:
                    transaction.abort()
                    raise
                transaction.commit()
            except lmdb.MapFullError as error:
                self._grow()
                raise MapGrown(self.path, "its map was full and has been enlarged; try again") from error
            except lmdb.Error as error:
                self._give_up_after(error)
                raise files.translated(error, self.path) from error

    def _begin_write(self) -> Any:
        if self.env is None:  # a thread of ours that is late
            raise StoreReadOnly(self.path, "it was closed meanwhile")
        try:
            return self.env.begin(write=True)
        except lmdb.MapResizedError:
            self._adopt()
            return self.env.begin(write=True)

    def _adopt(self) -> None:
        with self.mutex:
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
