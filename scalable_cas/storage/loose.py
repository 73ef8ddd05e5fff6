"""Loose objects: one immutable file per object under ``objects/ab/cdef…``. Keeps I1 and I5.

A read checks the header, the sizes and the digest before a byte of content is handed out. A write never
replaces a whole object; it replaces a damaged one, which is moved to ``quarantine/`` first.
"""

from __future__ import annotations

import os

from scalable_cas.errors import (
    CorruptObject,
    MalformedObject,
    ObjectNotFound,
    ObjectUnreadable,
    StoreReadOnly,
)
from scalable_cas.format import header as encoded
from scalable_cas.format.kinds import hasher, object_id
from scalable_cas.format.layout import OBJECTS, QUARANTINE, TMP, object_path
from scalable_cas.storage import fs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scalable_cas.format.header import Header

    Content = bytes | bytearray | memoryview

#: When an object is stored again, the copy that is there is checked in full up to this size, above it by its
#: header and length only: re-reading 64 KiB costs 20 µs, about as much as writing the file; re-reading 1 GB
#: would cost a second.
CHECK_BYTES = 64 << 10


class Placed:
    """Where an object lies: the inode and change stamp (mtime, ns) of the file that holds it, its stored size
    in bytes, its coding, and for one in a pack the pack's name and the offset.
    """

    __slots__ = ("changed", "coding", "inode", "offset", "pack", "stored")

    def __init__(
        self, inode: int, changed: int, stored: int, coding: int = 0, *, pack: bytes = b"", offset: int = 0
    ) -> None:
        self.inode = inode
        self.changed = changed
        self.stored = stored
        self.coding = coding
        self.pack = pack
        self.offset = offset


class LooseObjects:
    """The loose objects of the store at ``root``."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.folder = f"{root}/{OBJECTS}"
        self._tmp = f"{root}/{TMP}"

    def path(self, oid: bytes) -> str:
        """The file of an object."""
        return f"{self.folder}/{object_path(oid)}"

    def put(self, kind: int, oid: bytes, content: Content, *, sync: bool = False) -> Placed:
        """Store ``content`` under its name ``oid``; a whole copy that is there already is kept, a damaged one
        replaced.

        Raises:
            StoreReadOnly: it cannot be written.
        """
        head, payload = encoded.encode(kind, oid, content)
        path = self.path(oid)
        parts = (head.pack(), payload)
        # the second time after a damaged copy was moved away, the third after losing a race for that
        for attempt in range(3):
            try:
                seen = fs.write_new(self._tmp, path, parts, sync=sync)
            except StoreReadOnly:
                if attempt or not self._clear_way(path):
                    raise
                continue
            if seen is not None:
                return Placed(seen.st_ino, seen.st_mtime_ns, seen.st_size, head.coding)
            there = self.whole(kind, oid, len(content))
            if there is not None:
                return there
            self.quarantine(oid)
        raise ObjectUnreadable(oid.hex(), "a damaged copy cannot be replaced")

    def _clear_way(self, path: str) -> bool:
        """Set aside what stands where an object's folder should be; False if nothing does."""
        folder = os.path.dirname(path)
        if not os.path.lexists(folder) or os.path.isdir(folder):
            return False
        return fs.move(folder, f"{self.root}/{QUARANTINE}/{os.path.basename(folder)}")

    def whole(self, kind: int, oid: bytes, size: int) -> Placed | None:
        """Where an object is, if its file is whole; None if it is damaged or gone."""
        try:
            fd = os.open(self.path(oid), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            seen = os.fstat(fd)
            data = os.read(fd, encoded.HEADER_BYTES + (CHECK_BYTES if size <= CHECK_BYTES else 0))
            found = encoded.unpack(data)
            if (
                found.oid != oid
                or found.kind != kind
                or found.raw_size != size
                or seen.st_size != encoded.HEADER_BYTES + found.stored_size
            ):
                return None
            if (
                size <= CHECK_BYTES
                and object_id(kind, encoded.decode(found, data[encoded.HEADER_BYTES :])) != oid
            ):
                return None
        except (OSError, MalformedObject):
            return None
        finally:
            os.close(fd)
        return Placed(seen.st_ino, seen.st_mtime_ns, seen.st_size, found.coding)

    def get(
        self, oid: bytes, *, threads: int = 1, largest: int | None = None
    ) -> tuple[Header, bytes | memoryview]:
        """Return the header and the content of an object, digest checked.

        ``largest`` bounds the content's size in bytes before anything is decompressed.

        Raises:
            ObjectNotFound: there is no such file.
            CorruptObject: its bytes are not those that the name promises.
            ObjectUnreadable: the system would not let us read it.
        """
        return checked(oid, self._read(oid), largest, threads)

    def _read(self, oid: bytes) -> bytes:
        path = self.path(oid)
        try:
            # never through a link, and never blocking on a FIFO that somebody put there
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(fd, "rb", buffering=0) as file:
                return file.readall() or b""
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ObjectNotFound(oid.hex()) from error
        except OSError as error:
            if os.path.islink(path) or not os.path.isfile(path):
                raise CorruptObject(oid.hex(), "its file is no regular file") from error
            raise ObjectUnreadable(oid.hex(), error.strerror or str(error)) from error

    def encoded(self, oid: bytes) -> bytes:
        """The bytes of an object's file; of its header only the name is looked at.

        Raises:
            ObjectNotFound, CorruptObject, ObjectUnreadable: as `get`.
        """
        data = self._read(oid)
        own_header(oid, data)
        return data

    def check(self, oid: bytes) -> Header:
        """Read an object and check its sizes and digest, a megabyte at a time: nothing of it is kept, so a
        large object costs no more memory than a small one.

        Raises:
            ObjectNotFound, CorruptObject, ObjectUnreadable: as `get`.
        """
        head = self.head(oid)
        running = hasher(head.kind)
        try:
            with open(self.path(oid), "rb", buffering=0) as file:
                length = os.fstat(file.fileno()).st_size
                if length != encoded.HEADER_BYTES + head.stored_size:
                    raise CorruptObject(
                        oid.hex(), f"{length - encoded.HEADER_BYTES} bytes are stored of {head.stored_size}"
                    )
                file.seek(encoded.HEADER_BYTES)
                for piece in encoded.decode_stream(head, file):
                    running.update(piece)
        except FileNotFoundError as error:
            raise ObjectNotFound(oid.hex()) from error
        except OSError as error:
            raise ObjectUnreadable(oid.hex(), error.strerror or str(error)) from error
        except MalformedObject as error:
            raise CorruptObject(oid.hex(), error.reason) from error
        if running.digest() != oid:
            raise CorruptObject(oid.hex(), "its content has another digest")
        return head

    def head(self, oid: bytes) -> Header:
        """Return the header of an object; its content is not read.

        Raises:
            ObjectNotFound, CorruptObject, ObjectUnreadable: as `get`.
        """
        path = self.path(oid)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                data = os.read(fd, encoded.HEADER_BYTES)
            finally:
                os.close(fd)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ObjectNotFound(oid.hex()) from error
        except OSError as error:
            raise ObjectUnreadable(oid.hex(), error.strerror or str(error)) from error
        return own_header(oid, data)

    def stat(self, oid: bytes) -> os.stat_result | None:
        """The state of the object's file, or None if there is none."""
        try:
            return os.lstat(self.path(oid))
        except OSError:
            return None

    def names(self, first: bytes = b"\0" * 32, last: bytes = b"\xff" * 32) -> Iterator[bytes]:
        """Yield the names of all files in ``objects/`` that are names of objects, in order, from ``first`` to
        ``last``, both included.
        """
        low, high = first.hex(), last.hex()
        for folder in sorted(_listing(self.folder)):
            if len(folder) != 2 or not low[:2] <= folder <= high[:2]:
                continue
            for name in sorted(_listing(f"{self.folder}/{folder}")):
                if len(name) == 62 and low <= folder + name <= high:
                    try:
                        yield bytes.fromhex(folder + name)
                    except ValueError:  # not ours
                        continue

    def strangers(self) -> Iterator[str]:
        """Yield the paths in ``objects/`` that are no object's file, for `verify` to mention."""
        for folder in sorted(_listing(self.folder)):
            path = f"{self.folder}/{folder}"
            if folder == "pack":
                continue
            if len(folder) != 2 or not _is_hex(folder) or not os.path.isdir(path):
                yield path
                continue
            for name in sorted(_listing(path)):
                if len(name) != 62 or not _is_hex(name):
                    yield f"{path}/{name}"

    def delete(self, oid: bytes) -> bool:
        """Remove an object; False if it was not there. Only gc may call it, under the rules of
        docs/explanation/gc.md.
        """
        return fs.remove(self.path(oid))

    def quarantine(self, oid: bytes) -> bool:
        """Move a damaged object out of the way, to ``quarantine/``, where a person can look at it."""
        return fs.move(self.path(oid), f"{self.root}/{QUARANTINE}/{oid.hex()}")


def own_header(oid: bytes, data: bytes) -> Header:
    """The header of the encoded object that starts ``data``, which must be that of ``oid``.

    Raises:
        CorruptObject: it is not.
    """
    try:
        head = encoded.unpack(data)
    except MalformedObject as error:
        raise CorruptObject(oid.hex(), error.reason) from error
    if head.oid != oid:
        raise CorruptObject(oid.hex(), "another object is in its place")
    return head


def checked(
    oid: bytes, data: bytes, largest: int | None = None, threads: int = 1
) -> tuple[Header, bytes | memoryview]:
    """Header and content of an encoded object, digest checked; ``largest`` bounds the content's size in bytes
    before anything is decompressed.

    Raises:
        CorruptObject: it is not the object of that name, or longer than ``largest`` bytes.
    """
    head = own_header(oid, data)
    try:
        if largest is not None and head.raw_size > largest:
            raise MalformedObject("object", f"{head.raw_size} bytes where at most {largest} are expected")
        content = encoded.decode(head, memoryview(data)[encoded.HEADER_BYTES :])
    except MalformedObject as error:
        raise CorruptObject(oid.hex(), error.reason) from error
    if object_id(head.kind, content, threads) != oid:
        raise CorruptObject(oid.hex(), "its content has another digest")
    return head, content


def _listing(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_hex(text: str) -> bool:
    return not set(text) - set("0123456789abcdef")
