"""Every call that changes files and folders outside of the store: results that are put back for the user.

The problem: what is put back may come from a stranger, and others may work in the same folder meanwhile. The
naive way, to join a path and open it, follows links: one that was in the tree, one that lay there, or one
that took a folder's place between our look and our write; then it writes wherever the link leads. What we do:
below the folder that the user named, everything goes through descriptors of open folders, one name at a time,
and no name is followed if it is a link. A folder that is moved away meanwhile is still the folder we opened.

A file is written under a name of our own and then renamed, so nobody sees half of it. ``O_TMPFILE`` would
leave nothing behind after a kill, but took three times as long here (172 µs a small file where this takes
65).

Foreign errors become ``PathRefused`` here, once.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress

from scalable_cas.errors import PathRefused
from scalable_cas.storage.drafts import temporary_name
from scalable_cas.storage.fs import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from typing import Self

    from scalable_cas.storage.fs import Buffer

    Identity = tuple[int, int]  # device, inode

#: What files are called until they are whole. A folder that is stored leaves such names out.
DRAFT_PREFIX = b".scalable-cas-draft."
#: What may stand in a place, or be led to from there; that a folder cannot be replaced, `rename` says.
_REPLACEABLE = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# a folder to go through, which need not be readable
_THROUGH = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder:
    """An open folder; ``path`` is what it is called in messages. ``forbidden``: folders, by device and inode,
    that nothing is written into: the store's own.
    """

    __slots__ = ("fd", "forbidden", "path")

    def __init__(self, fd: int, path: str, forbidden: Collection[Identity]) -> None:
        self.fd = fd
        self.path = path
        self.forbidden = forbidden
        seen = os.fstat(fd)
        if (seen.st_dev, seen.st_ino) in forbidden:
            os.close(fd)
            raise PathRefused(path, "is the store's own folder, which nothing is written into")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self.fd)

    def called(self, name: bytes) -> str:
        """The path of something in it, for people."""
        return os.path.join(self.path, os.fsdecode(name))

    def stat(self, name: bytes) -> os.stat_result | None:
        """What is there under a name, itself and not what it leads to; None if nothing is."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PathRefused(self.called(name), error.strerror or str(error)) from error

    def target(self, name: bytes) -> bytes | None:
        """Where the link of a name leads; None if it is none."""
        try:
            return os.readlink(name, dir_fd=self.fd)
        except OSError:
            return None

    def open_file(self, name: bytes) -> int:
        """A descriptor to read a file; never through a link, and never waiting for a FIFO.

        Raises:
            OSError: there is none, or it cannot be read.
        """
        return os.open(name, _READ, dir_fd=self.fd)

    def child(self, name: bytes, *, make: bool = True, replace: bool = True) -> Folder:
        """The folder of a name, made if need be. A file or a link that has the name goes, if ``replace``.

        Raises:
            PathRefused: it cannot be made, is the store's own, or something else is there.
        """
        try:
            for _ in range(3):  # somebody may put something there between our look and our try
                try:
                    fd = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=self.fd)
                except FileNotFoundError:
                    if not make:
                        raise
                    try:
                        os.mkdir(name, 0o777, dir_fd=self.fd)
                    except FileExistsError:
                        continue
                except NotADirectoryError:  # or a link, which O_NOFOLLOW with O_DIRECTORY reports so
                    if not replace:
                        raise PathRefused(self.called(name), "is no folder, or a link") from None
                    self._refuse_special(name)
                    os.unlink(name, dir_fd=self.fd)
                else:
                    return Folder(fd, self.called(name), self.forbidden)
        except OSError as error:
            raise PathRefused(self.called(name), error.strerror or str(error)) from error
        raise PathRefused(self.called(name), "something else keeps coming in its place")

    def write(self, name: bytes, pieces: Iterable[Buffer], *, executable: bool) -> os.stat_result:
        """Put a file of these bytes in the place of whatever has the name, unless that is a folder. What
        ``pieces`` raises is passed on, and nothing has changed then.

        Raises:
            PathRefused: it cannot be written.
        """
        with self._into_place(name, "a file") as draft:
            fd = os.open(draft, _NEW, 0o755 if executable else 0o644, dir_fd=self.fd)
            try:
                for piece in pieces:
                    write_all(fd, (piece,))
                seen = os.fstat(fd)
            finally:
                os.close(fd)
        return seen

    def link(self, name: bytes, target: bytes) -> None:
        """Put a link in the place of whatever has the name, unless that is a folder.

        Raises:
            PathRefused: it cannot be made.
        """
        with self._into_place(name, "a link") as draft:
            os.symlink(target, draft, dir_fd=self.fd)

    def _refuse_special(self, name: bytes) -> None:
        """Refuse to put something in the place of a device, a FIFO or a socket, or of a link to one, such as
        ``/dev/stdout``: whoever named that wanted to write into it, and others need it.
        """
        seen = self.stat(name)
        if seen is not None and stat.S_ISLNK(seen.st_mode):
            with suppress(OSError):  # it leads nowhere
                seen = os.stat(name, dir_fd=self.fd)
        if seen is not None and stat.S_IFMT(seen.st_mode) not in _REPLACEABLE:
            raise PathRefused(
                self.called(name), "is neither a file nor a link to one; name another path, or move it away"
            )

    @contextmanager
    def _into_place(self, name: bytes, what: str) -> Iterator[bytes]:
        """The name of a draft for the block to make; at its end the draft gets its real name, or is gone."""
        self._refuse_special(name)
        draft = DRAFT_PREFIX + temporary_name().encode()
        try:
            try:
                yield draft
                os.rename(draft, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(draft, dir_fd=self.fd)
                raise
        except IsADirectoryError as error:
            raise PathRefused(
                self.called(name), f"is a folder; move it away, {what} is to be there"
            ) from error
        except OSError as error:
            raise PathRefused(self.called(name), error.strerror or str(error)) from error


def open_folder(path: str, forbidden: Collection[Identity], *, make: bool = True) -> Folder:
    """The folder at a path that the user gave, made with its parents if need be; links on the way are the
    user's own and are followed.

    Raises:
        PathRefused: it cannot be made or opened, or is the store's own or inside it.
    """
    try:
        if make:
            os.makedirs(path or ".", exist_ok=True)
        fd = os.open(path or ".", _FOLDER)
    except FileExistsError as error:
        raise PathRefused(path, "is no folder; move it away, a folder is to be there") from error
    except OSError as error:
        raise PathRefused(path, error.strerror or str(error)) from error
    try:
        _refuse_inside(fd, path, forbidden)
    except BaseException:
        os.close(fd)
        raise
    return Folder(fd, path, forbidden)


def open_below(parts: Sequence[bytes], forbidden: Collection[Identity]) -> Folder:
    """The folder that is reached from the working directory by these names, none of them a link; it is made
    if need be.

    Raises:
        PathRefused: as `Folder.child`.
    """
    here = open_folder(".", forbidden, make=False)
    for part in parts:
        with here:
            here = here.child(part, replace=False)
    return here


def _refuse_inside(fd: int, path: str, forbidden: Collection[Identity]) -> None:
    """Refuse a folder that lies in one that nothing is written into: go up to the root, as `realpath` would,
    but by what is there and not by what it is called.
    """
    current = os.dup(fd)
    try:
        seen = os.fstat(current)
        while True:
            if (seen.st_dev, seen.st_ino) in forbidden:
                raise PathRefused(path, "lies in the store's own folder, which nothing is written into")
            above = os.open("..", _THROUGH, dir_fd=current)
            os.close(current)
            current = above
            before, seen = seen, os.fstat(current)
            if (before.st_dev, before.st_ino) == (seen.st_dev, seen.st_ino):
                return
    except OSError:  # a folder above that we may not look into: then it is not ours
        return
    finally:
        os.close(current)


def identities(path: str) -> frozenset[Identity]:
    """The folder at ``path`` as `Folder` knows forbidden ones; empty if there is none."""
    try:
        seen = os.stat(path)
    except OSError:
        return frozenset()
    return frozenset(((seen.st_dev, seen.st_ino),))


def is_regular(seen: os.stat_result | None) -> bool:
    """Whether something is a file."""
    return seen is not None and stat.S_ISREG(seen.st_mode)
