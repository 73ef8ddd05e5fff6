"""Every change of a file that a remote makes: files of a shared folder, and local files that are downloaded.

The store's own changes are in `storage/fs.py`, which a neighbour may not import, and which turns every error
into one about the store; here the two sides differ: what fails in a shared folder is the remote's fault, what
fails in a download's target is this machine's.
"""

from __future__ import annotations

import errno
import os

from scalable_cas.errors import StoreReadOnly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self

    Buffer = bytes | bytearray | memoryview

#: Where there are no hard links: exFAT, some FUSE and SMB mounts.
NO_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS))
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def write_all(fd: int, content: Buffer) -> None:
    """Write every byte, whatever the system accepts at a time."""
    view = memoryview(content).cast("B")
    while len(view):
        view = view[os.write(fd, view) :]


class Download:
    """A new local file of known size that threads fill at their places; removed again unless all went well.

    A partial file is never kept to be resumed: git-annex once resumed damaged ones for ever.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1

    def __enter__(self) -> Self:
        try:
            self._fd = os.open(self.path, _NEW, 0o600)
        except OSError as error:
            raise StoreReadOnly(self.path, error.strerror or str(error)) from error
        return self

    def reserve(self, size: int) -> None:
        """Make room for the whole content: a full disk is found out before the transfer, not near its end.

        Raises:
            StoreReadOnly: there is no room.
        """
        if size:
            try:
                os.posix_fallocate(self._fd, 0, size)
            except OSError as error:
                raise StoreReadOnly(self.path, error.strerror or str(error)) from error

    def write_at(self, offset: int, content: Buffer) -> None:
        """Write at a place.

        Raises:
            StoreReadOnly: the disk is full or broken.
        """
        view = memoryview(content).cast("B")
        try:
            while len(view):
                done = os.pwrite(self._fd, view, offset)
                view, offset = view[done:], offset + done
        except OSError as error:
            raise StoreReadOnly(self.path, error.strerror or str(error)) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A thread that was left behind (a second Ctrl-C) must not write to whatever gets this number next.
        fd, self._fd = self._fd, -1
        os.close(fd)
        if kind is not None:
            try:
                os.unlink(self.path)
            except FileNotFoundError:  # its folder was cleared under us
                pass


# --- files of a shared folder: the caller, who knows the remote, translates OSError ------------------------


def write_draft(draft: str, blocks: Iterable[Buffer]) -> int:
    """Write a new file, make it safe from a power cut, and return its size. Rights follow the umask, so that
    a group can share the folder; nobody may write, as nothing there ever changes.
    """
    fd = _open_draft(draft)
    size = 0
    try:
        for block in blocks:
            write_all(fd, block)
            size += memoryview(block).nbytes
        os.fsync(fd)
    finally:
        os.close(fd)
    return size


def _open_draft(draft: str) -> int:
    try:
        return os.open(draft, _NEW, 0o444)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(draft), exist_ok=True)
        return os.open(draft, _NEW, 0o444)


def publish(draft: str, path: str) -> bool:
    """Give a draft its name, unless that is taken: False then. Where there are no hard links, two writers in
    the same instant may both be told True.
    """
    try:
        return link(draft, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
    if os.path.lexists(path):
        return False
    replace(draft, path)
    return True


def link(draft: str, path: str) -> bool:
    """Give a draft its name, unless that is taken, in one step of the file system.

    NFS may say "exists" of a link that it made, when the answer to the first try was lost; the number of
    links tells (open(2) of Linux, on O_EXCL).
    """
    for _ in range(
        16
    ):  # a folder can vanish between mkdir and link, when another host tidies; never for ever
        try:
            os.link(draft, path)
        except FileExistsError:
            return os.stat(draft).st_nlink > 1
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        else:
            return True
    raise OSError(errno.EIO, "its folder keeps disappearing", path)


def replace(draft: str, path: str) -> None:
    """Give a draft its name, whatever has it."""
    try:
        os.replace(draft, path)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.replace(draft, path)


def sync_folder(path: str) -> None:
    """Make a name safe from a power cut. A file system that opens no folders is left alone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):  # NFS, CIFS: not for folders
            raise
    finally:
        os.close(fd)


def remove(path: str, dir_fd: int | None = None) -> bool:
    """Remove a file, of an open folder if there is one; False if there is none."""
    try:
        os.unlink(path, dir_fd=dir_fd)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def remove_empty_folders(folder: str, top: str) -> None:
    """Remove a folder of ``top`` and those above it that are empty now, but not ``top``."""
    while folder != top and folder.startswith(top):
        try:
            os.rmdir(folder)
        except OSError:  # not empty, or gone: tidying is never worth an error
            return
        folder = os.path.dirname(folder)
