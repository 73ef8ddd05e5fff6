"""Every call that changes the file system, so that crash tests have one place to stand (LMDB does its own).

A new file is published whole or not at all: it is written under a name in ``tmp/`` of the same file system
and then linked to its own name, which fails if that name is taken. Renaming was rejected for new files: it
silently replaces what is there. It is used where replacing is meant. ``O_TMPFILE`` would leave nothing behind
after a kill, but it cost three times as much here; what a kill leaves in ``tmp/`` is removed by gc.

Foreign errors become ``StoreReadOnly`` here, once.
"""

from __future__ import annotations

import errno
import os

from scalable_cas.storage.drafts import temporary_name
from scalable_cas.storage.faults import UNWRITABLE, unwritable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    Buffer = bytes | bytearray | memoryview

# exFAT, some FUSE and SMB mounts
_NO_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS))
_OPEN_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
#: Beyond this many files one ``sync`` of everything is cheaper than a flush for each (a real disk needs 0.5
#: to 10 ms per flush).
MANY = 64


def write_all(fd: int, parts: Sequence[Buffer]) -> None:
    """Write every byte of ``parts`` to a file descriptor, whatever the system accepts at a time."""
    if sum(map(len, parts)) <= 64 << 10:  # joining is then cheaper than a vector of views
        data = b"".join(parts)
        done = os.write(fd, data)
        if done == len(data):
            return
        parts = (data[done:],)
    views = [memoryview(part).cast("B") for part in parts if len(part)]
    while views:
        done = os.writev(fd, views[:64])  # 64: well under every IOV_MAX
        while views and done >= len(views[0]):
            done -= len(views.pop(0))
        if done:
            views[0] = views[0][done:]


class Draft:
    """A new file in ``tmp``, on the file system of its later name; errors name ``path`` until it has that.
    A context manager: what was not published is gone at its end. All it does raises StoreReadOnly for no
    space, no permission, a broken disk.
    """

    def __init__(self, tmp: str, path: str, mode: int = 0o444) -> None:
        self._path = path
        self._draft = f"{tmp}/{temporary_name()}"
        self._seen: os.stat_result | None = None
        try:
            self._fd = _open_draft(tmp, self._draft, mode)
        except OSError as error:
            raise unwritable(error, path) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def write(self, parts: Sequence[Buffer], at: int | None = None) -> None:
        """Append ``parts``, or put them ``at`` a place of the file."""
        try:
            if at is not None:
                os.lseek(self._fd, at, os.SEEK_SET)
            write_all(self._fd, parts)
        except OSError as error:
            raise unwritable(error, self._path) from error

    def seal(self, *, sync: bool = False) -> None:
        """Nothing more will be written; ``sync``: make it safe from a power cut."""
        try:
            if self._seen is None:
                if sync:
                    os.fsync(self._fd)
                self._seen = os.fstat(self._fd)
                self._shut()  # it is here that a network file system tells of a full disk
        except OSError as error:
            raise unwritable(error, self._path) from error

    def publish(self, path: str, *, sync: bool = False) -> os.stat_result | None:
        """Give the file its name, or return None if that is taken (what has it is left alone). The folder of
        ``path`` is made if it is missing. Keeps I1: a name never shows half of its content.
        """
        self.seal(sync=sync)
        try:
            return self._seen if _link(self._draft, path) else None
        except OSError as error:
            raise unwritable(error, path) from error

    def _shut(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def close(self) -> None:
        """Let go of the file, and of the name in ``tmp``."""
        try:
            try:
                self._shut()
            finally:
                os.unlink(self._draft)
        except FileNotFoundError:  # the store was removed under us
            pass
        except OSError as error:
            raise unwritable(error, self._path) from error


def write_new(
    tmp: str, path: str, parts: Sequence[Buffer], *, sync: bool = False, mode: int = 0o444
) -> os.stat_result | None:
    """Publish a new file at ``path``, or return None if there is one already (it is then left alone); ``tmp``
    and what is kept as in `Draft`.

    Raises:
        StoreReadOnly: no space, no permission, a broken disk.
    """
    with Draft(tmp, path, mode) as draft:
        draft.write(parts)
        return draft.publish(path, sync=sync)


def _open_draft(tmp: str, draft: str, mode: int) -> int:
    try:
        return os.open(draft, _OPEN_NEW, mode)
    # somebody removed the store, or its tmp/, under us: that clears it, and is no fault
    except FileNotFoundError:
        os.makedirs(tmp, 0o700, exist_ok=True)
        return os.open(draft, _OPEN_NEW, mode)


def _link(draft: str, path: str) -> bool:
    for _ in range(16):  # a folder can vanish again between mkdir and link, when gc tidies; never for ever
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if os.path.lexists(path):
                return False
            os.rename(draft, path)
            with open(draft, "xb"):  # so that the caller's unlink finds something, here as after a link
                pass
            return True
        else:
            return True
    raise OSError(errno.EIO, "its folder keeps disappearing", path)


def publish(draft: str, path: str, *, mode: int = 0o444, over: bool = False) -> os.stat_result | None:
    """Give a finished file of ``tmp/`` its name ``path``, or return None if that is taken (it is then left
    alone; with ``over`` it is replaced). The draft stays, for its owner to remove. Keeps I1.

    Raises:
        StoreReadOnly: no space, no permission, a broken disk.
    """
    try:
        os.chmod(draft, mode)
        if over:
            os.rename(draft, path)
            return os.lstat(path)
        return os.lstat(path) if _link(draft, path) else None
    except OSError as error:
        raise unwritable(error, path) from error


def replace(tmp: str, path: str, *parts: Buffer, sync: bool = True, mode: int = 0o600) -> None:
    """Put a file of ``parts`` at ``path``, replacing what is there in one step.

    Raises:
        StoreReadOnly: it cannot be written.
    """
    draft = f"{tmp}/{temporary_name()}"
    try:
        fd = _open_draft(tmp, draft, mode)
        try:
            try:
                write_all(fd, parts)
                if sync:
                    os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(draft, path)
        except BaseException:
            os.unlink(draft)
            raise
    except OSError as error:
        raise unwritable(error, path) from error


def make_folder(path: str) -> None:
    """Make a folder and its parents, private to the user. Nothing happens if it is there.

    Raises:
        StoreReadOnly: it cannot be made.
    """
    try:
        os.makedirs(path, 0o700, exist_ok=True)
    except OSError as error:
        raise unwritable(error, path) from error


def create_folder(path: str, draft: str) -> bool:
    """Give a prepared folder ``draft`` its name; False if ``path`` exists already. One step, so nobody sees a
    half-made folder.

    Raises:
        StoreReadOnly: it cannot be renamed.
    """
    try:
        os.rename(draft, path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise unwritable(error, path) from error
    return True


def reserve(path: str, size: int) -> None:
    """See to it that the first ``size`` bytes of a file have their place on the disk; it is made if need be.
    For files that are written through a memory map: where the disk is full, that is no error but the end of
    the process (SIGBUS).

    Raises:
        StoreReadOnly: there is no space.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_blocks * 512 < size:  # the unit of st_blocks, whatever the file system's is
                os.posix_fallocate(fd, 0, size)
        finally:
            os.close(fd)
    except OSError as error:
        raise unwritable(error, path) from error


def append_open(path: str) -> int:
    """Open a new file for appending and return its descriptor.

    Raises:
        StoreReadOnly: it cannot be made.
    """
    try:
        try:
            return os.open(path, _OPEN_NEW | os.O_APPEND, 0o600)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            return os.open(path, _OPEN_NEW | os.O_APPEND, 0o600)
    except OSError as error:
        raise unwritable(error, path) from error


def append(fd: int, path: str, parts: Sequence[Buffer], *, sync: bool) -> None:
    """Append ``parts`` to an open file, and make them safe from a power cut if ``sync``.

    Raises:
        StoreReadOnly: no space, or a broken disk. What was written of them may stay: readers skip a torn end.
    """
    try:
        write_all(fd, parts)
        if sync:
            os.fdatasync(fd)
    except OSError as error:
        raise unwritable(error, path) from error


def open_lock(path: str) -> int:
    """Open (and create) a lock file for reading and writing; its content is a table of owners.

    Raises:
        StoreReadOnly: it cannot be made.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unwritable(error, path) from error


def poke(fd: int, offset: int, content: bytes) -> None:
    """Write a few bytes at a place of an open file. A full disk is ignored: only tables of hints are written
    so.
    """
    try:
        os.pwrite(fd, content, offset)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise


def overwrite(path: str, content: Buffer) -> None:
    """Write a small file in place. Only for hints whose readers notice a torn one.

    Raises:
        StoreReadOnly: it cannot be written.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, (content,))
        finally:
            os.close(fd)
    except OSError as error:
        raise unwritable(error, path) from error


def remove(path: str) -> bool:
    """Remove a file; False if there is none.

    Raises:
        StoreReadOnly: it cannot be removed.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unwritable(error, path) from error
    return True


def remove_folder(path: str) -> bool:
    """Remove an empty folder; False if it is not there or not empty."""
    try:
        os.rmdir(path)
    except OSError:  # tidying is never worth an error
        return False
    return True


def remove_tree(path: str) -> None:
    """Remove a folder with all it holds; nothing happens if it is not there. Only derived data is removed so
    (the index).

    Raises:
        StoreReadOnly: something in it cannot be removed.
    """
    import shutil

    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise unwritable(error, path) from error


def move(source: str, target: str) -> bool:
    """Move a file to another name on the same file system, for quarantine; False if it is gone. Where that
    name is taken (the second damage of one object), a longer one is used: a folder cannot replace a file.

    Raises:
        StoreReadOnly: it cannot be moved.
    """
    try:
        os.makedirs(os.path.dirname(target), 0o700, exist_ok=True)
        os.rename(source, f"{target}.{temporary_name()}" if os.path.lexists(target) else target)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unwritable(error, source) from error
    return True


def sync_paths(paths: Sequence[str]) -> None:
    """Make files safe from a power cut: one by one while they are few, else everything at once.

    Raises:
        StoreReadOnly: the disk refused.
    """
    if len(paths) > MANY:
        os.sync()
        return
    for path in {*paths, *(os.path.dirname(path) for path in paths)}:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # collected meanwhile, or a file system that opens no folders
            continue
        try:
            os.fsync(fd)
        except OSError as error:
            raise unwritable(error, path) from error
        finally:
            os.close(fd)
