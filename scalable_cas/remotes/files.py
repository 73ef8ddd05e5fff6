"""`file://`: a folder that several machines see, as on Lustre, GPFS or NFS, or a disk that is carried.

No locks and no index: a file is written under a random name in ``tmp/`` and linked to its own, which fails
where that name is taken; both are atomic on NFS too. Deleting is a plain unlink. What a killed writer leaves
in ``tmp/`` is removed by the first write of a later process, when it is a day old.

What cannot be bounded here: a call into a file server that hangs stays in the kernel, and no time limit of
ours reaches it.
"""

from __future__ import annotations

import errno
import os
import stat
from secrets import token_hex
from typing import TYPE_CHECKING, TypeVar

from scalable_cas import clock
from scalable_cas.errors import RemoteDenied, RemoteError, RemoteFileMissing
from scalable_cas.remotes import fs
from scalable_cas.remotes.base import RemoteFile, Traffic, check_name, well_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from io import FileIO

    from scalable_cas.remotes.base import Address, Capabilities, Settings

T = TypeVar("T")

DRAFTS = "tmp"  # in the same folder, so that a link need not leave the file system; no name may begin so
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO)  # also what is no plain file
_PASSES = frozenset((errno.ESTALE, errno.EIO, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT, errno.EBUSY))


class FileRemote:
    """A folder as a remote. See `base.Remote`."""

    def __init__(self, address: Address, settings: Settings) -> None:  # noqa: ARG002 - as every opener
        self.url = address.url
        self.root = "/" + address.path
        self.traffic = Traffic()
        self._swept = False

    def get(self, name: str, *, largest: int, offset: int = 0, length: int | None = None) -> bytes:
        """The content of a file or of a part of it."""
        path = self._path(name)
        self.traffic.add(requests=1)

        def read() -> bytes:
            with _open(path) as file:
                left = max(0, os.fstat(file.fileno()).st_size - offset)
                wanted = left if length is None else min(left, length)
                self._check_size(name, wanted, largest)
                content = bytearray()
                while len(content) < wanted:
                    piece = os.pread(file.fileno(), wanted - len(content), offset + len(content))
                    if not piece:
                        break
                    if len(piece) == wanted:
                        return piece  # the usual case, without a copy
                    content += piece
                return bytes(content)

        content = self._read(name, read)
        self.traffic.add(received=len(content))
        return content

    def get_into(self, name: str, target: memoryview, *, offset: int = 0) -> int:
        """Fill memory with a part of a file."""
        path = self._path(name)
        self.traffic.add(requests=1)

        def read() -> int:
            done = 0
            with _open(path) as file:
                while done < len(target):
                    count = os.preadv(file.fileno(), [target[done:]], offset + done)
                    if not count:
                        break
                    done += count
            return done

        size = self._read(name, read)
        self.traffic.add(received=size)
        return size

    def get_file(self, name: str, path: str, *, largest: int) -> int:
        """Copy a file to a new local one."""
        source = self._path(name)
        self.traffic.add(requests=1)

        def copy() -> int:
            with _open(source) as file, fs.Download(path) as target:
                size = os.fstat(file.fileno()).st_size
                self._check_size(name, size, largest)
                target.reserve(size)
                done = 0
                while done < size and (block := file.read(min(1 << 20, size - done))):
                    target.write_at(done, block)
                    done += len(block)
                if done != size:  # files here never change; then somebody else did it
                    raise RemoteError(self.url, name, "it became shorter while it was read", retryable=True)
                return size

        size = self._read(name, copy)
        self.traffic.add(received=size)
        return size

    def put(self, name: str, data: bytes | bytearray | memoryview, *, exclusive: bool = True) -> bool:
        """Write a file."""
        return self._put(name, lambda draft: fs.write_draft(draft, (data,)), exclusive)

    def put_file(self, name: str, path: str, *, exclusive: bool = True) -> bool:
        """Write a file with the content of a local one."""
        with open(path, "rb", buffering=0) as file:  # outside of what is translated: not the remote's fault
            blocks = iter(lambda: file.read(1 << 20), b"")
            return self._put(name, lambda draft: fs.write_draft(draft, blocks), exclusive)

    def _put(self, name: str, fill: Callable[[str], int], exclusive: bool) -> bool:
        path = self._path(name)
        self.traffic.add(requests=1)
        draft = f"{self.root}/{DRAFTS}/{token_hex(16)}"
        self._swept = self._swept or self._sweep()
        try:
            if exclusive and os.path.lexists(path):  # spares the writing; the link below decides
                return False
            try:
                self.traffic.add(sent=fill(draft))
                if exclusive:
                    made = fs.publish(draft, path)
                else:
                    fs.replace(draft, path)
                    made = True
                if made:
                    fs.sync_folder(os.path.dirname(path))
                return made
            finally:
                fs.remove(draft)
        except OSError as error:
            raise self._error(name, error) from error

    def size(self, name: str) -> int | None:
        """How large a file is, or None."""
        path = self._path(name)
        self.traffic.add(requests=1)
        try:
            return self._read(name, lambda: _file_size(path))
        except RemoteFileMissing:
            return None

    def list(self, prefix: str, *, after: str = "") -> Iterator[RemoteFile]:
        """The files whose names begin with ``prefix``, in order."""
        self.traffic.add(requests=1)
        folder = prefix.rpartition("/")[0]
        try:
            yield from self._walk(f"{folder}/" if folder else "", prefix, after)
        except OSError as error:
            raise self._error(prefix, error) from error

    def _walk(self, folder: str, prefix: str, after: str) -> Iterator[RemoteFile]:
        """The files below ``folder`` ("" or ending with a slash). A folder sorts as its name with the slash:
        ``a-b`` comes before ``a/b``.
        """
        try:
            with os.scandir(f"{self.root}/{folder}") as found:
                entries = sorted(
                    (f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name, entry)
                    for entry in found
                    if folder or entry.name != DRAFTS
                )
        except (FileNotFoundError, NotADirectoryError):  # nothing was ever put there, or it was tidied away
            return
        for short, entry in entries:
            name = folder + short
            if short.endswith("/"):
                passed = name < after and not after.startswith(name)
                if not passed and (name.startswith(prefix) or prefix.startswith(name)):
                    yield from self._walk(name, prefix, after)
            elif name.startswith(prefix) and name > after and well_named(name):
                try:
                    if entry.is_file(follow_symlinks=False):
                        yield RemoteFile(name, entry.stat(follow_symlinks=False).st_size)
                except FileNotFoundError:  # deleted since
                    continue

    def delete(self, names: Sequence[str]) -> None:
        """Remove files, and folders that are empty then."""
        paths = [(name, self._path(name)) for name in names]
        for name, path in paths:
            self.traffic.add(requests=1)
            try:
                if fs.remove(path):
                    fs.remove_empty_folders(os.path.dirname(path), self.root)
            except OSError as error:
                raise self._error(name, error) from error

    def probe(self) -> Capabilities:
        """Try what a remote must do."""
        from scalable_cas.remotes.probing import CannotDoError, probe

        def if_absent(name: str, data: bytes) -> bool:
            path = self._path(name)
            draft = f"{self.root}/{DRAFTS}/{token_hex(16)}"
            fs.write_draft(draft, (data,))
            try:
                return fs.link(draft, path)
            except OSError as error:
                if error.errno in fs.NO_LINKS:
                    raise CannotDoError from error
                raise self._error(name, error) from error
            finally:
                fs.remove(draft)

        return probe(self, if_absent)

    def close(self) -> None:
        """Nothing is held."""

    def _sweep(self) -> bool:
        """Remove what killed writers left. Drafts are random names that no reader looks at, and one that
        nobody has written to for a day has no writer: no invariant rests on them.
        """
        oldest = clock.now_ns() / 1e9 - 86_400  # a day: far beyond any skew of clocks between machines
        try:
            # not through a link: somebody could have led it to files of ours with such names
            fd = os.open(f"{self.root}/{DRAFTS}", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return True
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    # by name, too: the remote may be a folder that had a tmp/ of its own
                    ours = len(entry.name) == 32 and not set(entry.name) - set("0123456789abcdef")
                    if ours and entry.stat(follow_symlinks=False).st_mtime < oldest:
                        fs.remove(entry.name, fd)
        except OSError:  # somebody else sweeps too, or it is theirs: tidying is never worth an error
            pass
        finally:
            os.close(fd)
        return True

    def _path(self, name: str) -> str:
        if check_name(name).split("/")[0] == DRAFTS:
            raise ValueError(f"{name!r}: {DRAFTS}/ is for unfinished files")
        return f"{self.root}/{name}"

    def _read(self, name: str, action: Callable[[], T]) -> T:
        """Read, once more where NFS forgot the file in between (ESTALE: another host replaced its folder)."""
        for tries_left in (2, 1, 0):
            try:
                return action()
            except OSError as error:
                if error.errno in _ABSENT:
                    raise RemoteFileMissing(self.url, name) from error
                if error.errno != errno.ESTALE or not tries_left:
                    raise self._error(name, error) from error
                self.traffic.add(retries=1)
        raise AssertionError("the last try returned or raised")

    def _check_size(self, name: str, size: int, largest: int) -> None:
        if size > largest:
            raise RemoteError(self.url, name, f"it has {size:,} bytes, and at most {largest:,} were expected")

    def _error(self, name: str, error: OSError) -> RemoteError:
        denied = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        kind = RemoteDenied if denied else RemoteError
        reason = f"{error.strerror or error}{_advice(error)}"
        return kind(self.url, name, reason, retryable=error.errno in _PASSES)


def _open(path: str) -> FileIO:
    """Open a plain file for reading. Whoever may write the folder could leave a link to a file of ours there,
    or a pipe that is never written to: neither is a file of the remote.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return open(fd, "rb", buffering=0)


def _file_size(path: str) -> int:
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return found.st_size


def _advice(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return "; ask the folder's owner for the right, or use another folder"
    if error.errno == errno.EROFS:
        return "; it can be pulled from, not pushed to"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "; free some space there, then run the same again"
    return ""
