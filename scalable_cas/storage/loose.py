"""Loose objects: one immutable file per object under ``objects/ab/cdef…``. Keeps I1 and I5.

A read checks the header, the sizes and the digest before a byte of content is handed out. A write never
replaces a whole object; it replaces a damaged one, which is moved to ``quarantine/`` first.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

from scalable_cas.errors import CorruptObject, MalformedObject, ObjectUnreadable, StoreReadOnly
from scalable_cas.format import header as encoded
from scalable_cas.format import rows
from scalable_cas.format.kinds import hasher, object_id
from scalable_cas.format.layout import OBJECTS, QUARANTINE, TMP, object_path
from scalable_cas.storage import fs
from scalable_cas.storage.reading import OPEN, load, own_header, reraised, stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from scalable_cas.format.chunking import ChunkList
    from scalable_cas.format.header import Header

    Content = bytes | bytearray | memoryview

#: When an object is stored again, the copy that is there is checked in full up to this size, above it by its
#: header and length only: re-reading 64 KiB costs 20 µs, about as much as writing the file; re-reading 1 GB
#: would cost a second.
CHECK_BYTES = 64 << 10
_UNTRACKED: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}


class Placed:
    """An object in its place: the inode and change stamp (mtime, ns) of the file that holds it, its stored
    size in bytes, its coding, and for one in a pack the pack's name and the offset. Where the object was put
    or checked, also its ``kind`` and the ``size`` of its content; ``epoch`` is that of its row in the index
    where it has one already.
    """

    __slots__ = ("changed", "coding", "epoch", "inode", "kind", "offset", "pack", "size", "stored")

    def __init__(
        self,
        inode: int,
        changed: int,
        stored: int,
        coding: int = 0,
        *,
        kind: int = 0,
        size: int = 0,
        pack: bytes = b"",
        offset: int = 0,
        epoch: int = -1,
    ) -> None:
        self.inode = inode
        self.changed = changed
        self.stored = stored
        self.coding = coding
        self.kind = kind
        self.size = size
        self.pack = pack
        self.offset = offset
        self.epoch = epoch

    def row(self, epoch: int) -> bytes:
        """The object's row in the index, named in ``epoch``."""
        return rows.pack_object(self.kind, self.coding, self.size, self.stored, epoch, self.pack, self.offset)


class LooseObjects:
    """The loose objects of the store at ``root``."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.folder = f"{root}/{OBJECTS}"
        self._tmp = f"{root}/{TMP}"
        #: Content of raw objects that is written already, after room for the header: see `Ahead`.
        self.drafts: dict[bytes, fs.Draft] = {}

    def path(self, oid: bytes) -> str:
        """The file of an object."""
        return f"{self.folder}/{object_path(oid)}"

    def put(self, kind: int, oid: bytes, content: Content, item: int = 1, *, sync: bool = False) -> Placed:
        """Store ``content`` under its name ``oid``; a whole copy that is there already is kept, a damaged one
        replaced. ``item``: the size in bytes of the numbers that it is made of.

        Raises:
            StoreReadOnly: it cannot be written.
        """
        return self.put_encoded(*encoded.encode(kind, oid, content, item), sync=sync)

    def put_encoded(self, head: Header, payload: Content, *, sync: bool = False) -> Placed:
        """The same for an object that is encoded already, and known to be what it says.

        Raises:
            StoreReadOnly: it cannot be written.
        """
        oid, kind = head.oid, head.kind
        path = self.path(oid)
        # the second time after a damaged copy was moved away, the third after losing a race for that
        for attempt in range(3):
            try:
                seen = self._write(head, payload, path, sync=sync)
            except StoreReadOnly:
                if attempt or not self._clear_way(path):
                    raise
                continue
            if seen is not None:
                return _placed(seen, head)
            there = self.whole(kind, oid, head.raw_size)
            if there is not None:
                return there
            self.quarantine(oid)
        raise ObjectUnreadable(oid.hex(), "a damaged copy cannot be replaced")

    def draft(self) -> fs.Draft:
        """A new file for an object.

        Raises:
            StoreReadOnly: it cannot be made.
        """
        return fs.Draft(self._tmp, self.folder)

    def _write(self, head: Header, payload: Content, path: str, *, sync: bool) -> os.stat_result | None:
        draft = self.drafts.pop(head.oid, None) if head.coding == encoded.RAW else None
        if draft is None:
            return fs.write_new(self._tmp, path, (head.pack(), payload), sync=sync)
        with draft:
            draft.write((head.pack(),), at=0)
            return draft.publish(path, sync=sync)

    def put_raw(self, kind: int, oid: bytes, content: Content, *, sync: bool = False) -> Placed:
        """As `put`, but as it is, so that it can be mapped. A whole copy that is stored in another way is
        replaced in one step (I1: its name and its content stay); who reads the old file reads it to its end.

        Raises:
            StoreReadOnly: it cannot be written.
        """
        there = self.whole(kind, oid, len(content))
        if there is not None and there.coding == encoded.RAW:
            return there
        size = len(content)
        head = encoded.Header(kind, encoded.RAW, encoded.NO_FILTER, size, size, oid)
        if self.stat(oid) is None:
            there = self.put_encoded(head, content, sync=sync)
            if there.coding == encoded.RAW:  # else somebody else was quicker
                return there
        fs.replace(self._tmp, self.path(oid), head.pack(), content, sync=sync, mode=0o444)
        seen = self.stat(oid)
        if seen is None:
            raise ObjectUnreadable(oid.hex(), "it was removed just now")
        return _placed(seen, head)

    def map(self, oid: bytes, size: int) -> tuple[memoryview, os.stat_result] | None:
        """The content of a raw object of this size as a read-only map, and the stat of its file; None if it
        is not stored so, or not there, or if maps hold most of the descriptors that this process may have.
        Nothing is checked but the header and the sizes.
        """
        import mmap
        import resource

        try:
            fd = os.open(self.path(oid), OPEN)
        except OSError:
            return None
        try:
            # Python keeps a descriptor for each map (until 3.13, and then unless it is told not to).
            if not _UNTRACKED and fd * 4 > resource.getrlimit(resource.RLIMIT_NOFILE)[0] * 3:
                return None
            head, seen = encoded.unpack(os.read(fd, encoded.HEADER_BYTES)), os.fstat(fd)
            whole = seen.st_size == encoded.HEADER_BYTES + size
            if not whole or (head.oid, head.coding, head.filter, head.raw_size) != (
                oid,
                encoded.RAW,
                0,
                size,
            ):
                return None
            content = memoryview(mmap.mmap(fd, seen.st_size, access=mmap.ACCESS_READ, **_UNTRACKED))
        except (OSError, ValueError, MalformedObject):
            return None
        finally:
            os.close(fd)
        return content[encoded.HEADER_BYTES :], seen

    def _clear_way(self, path: str) -> bool:
        """Set aside what stands where an object's folder should be; False if nothing does."""
        folder = os.path.dirname(path)
        if not os.path.lexists(folder) or os.path.isdir(folder):
            return False
        return fs.move(folder, f"{self.root}/{QUARANTINE}/{os.path.basename(folder)}")

    def whole(self, kind: int, oid: bytes, size: int) -> Placed | None:
        """Where an object is, if its file is whole; None if it is damaged or gone."""
        try:
            fd = os.open(self.path(oid), OPEN)
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
            if found.coding == encoded.CHUNKED:  # no copy of its own: only as whole as its chunks
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
        return _placed(seen, found)

    def get(
        self, oid: bytes, *, threads: int = 1, largest: int | None = None, frozen: bool = False
    ) -> tuple[Header, bytes | memoryview | ChunkList]:
        """Return the header and the content of an object, digest checked; of a blob in chunks, its list.

        ``largest`` bounds the content's size in bytes before anything is decompressed; large content is
        writable memory that nobody else has, or with ``frozen`` a ``bytes``.

        Raises:
            ObjectNotFound: there is no such file.
            CorruptObject: its bytes are not those that the name promises.
            ObjectUnreadable: the system would not let us read it.
        """
        with self._opened(oid) as (fd, length):
            return load(oid, fd, 0, length, threads=threads, largest=largest, frozen=frozen)

    @contextmanager
    def _opened(self, oid: bytes) -> Iterator[tuple[int, int]]:
        """A descriptor of the object's file and its length."""
        path = self.path(oid)
        try:
            fd = os.open(path, OPEN)
            try:
                yield fd, os.fstat(fd).st_size
            finally:
                os.close(fd)
        except OSError as error:
            raise reraised(oid, error, path) from error

    def encoded(self, oid: bytes) -> bytes:
        """The bytes of an object's file; of its header only the name is looked at.

        Raises:
            ObjectNotFound, CorruptObject, ObjectUnreadable: as `get`.
        """
        with self._opened(oid) as (fd, _), open(fd, "rb", buffering=0, closefd=False) as file:
            data = file.readall() or b""
        own_header(oid, data)
        return data

    def stream(self, oid: bytes) -> Iterator[memoryview]:
        """Yield the content of an object that is no list of chunks, piece by piece, each only good until the
        next is asked for. The digest is not checked.

        Raises:
            ObjectNotFound, CorruptObject, ObjectUnreadable: as `get`.
        """
        with self._opened(oid) as (fd, length):
            head = own_header(oid, os.read(fd, encoded.HEADER_BYTES))
            yield from stream(oid, fd, head, length)

    def check(self, oid: bytes) -> Header:
        """Read an object and check its sizes and digest, a megabyte at a time: nothing of it is kept, so a
        large object costs no more memory than a small one. Of a blob in chunks only the list is checked.

        Raises:
            ObjectNotFound, CorruptObject, ObjectUnreadable: as `get`.
        """
        with self._opened(oid) as (fd, length):
            head = own_header(oid, os.read(fd, encoded.HEADER_BYTES))
            if head.coding == encoded.CHUNKED:
                load(oid, fd, 0, length)
                return head
            running = hasher(head.kind)
            for piece in stream(oid, fd, head, length):
                running.update(piece)
        if running.digest() != oid:
            raise CorruptObject(oid.hex(), "its content has another digest")
        return head

    def head(self, oid: bytes) -> Header:
        """Return the header of an object; its content is not read.

        Raises:
            ObjectNotFound, CorruptObject, ObjectUnreadable: as `get`.
        """
        with self._opened(oid) as (fd, _):
            data = os.read(fd, encoded.HEADER_BYTES)
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


def _placed(seen: os.stat_result, head: Header) -> Placed:
    return Placed(
        seen.st_ino, seen.st_mtime_ns, seen.st_size, head.coding, kind=head.kind, size=head.raw_size
    )


def _listing(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_hex(text: str) -> bool:
    return not set(text) - set("0123456789abcdef")
