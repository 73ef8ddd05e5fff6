"""Objects by themselves, named by no entry: stored from memory or from a file that is read once, and written
out again, in memory of a few dozen megabytes whatever their size. Keeps I1 and I2.
"""

from __future__ import annotations

import io

from scalable_cas.errors import CollectedMeanwhile, StoreReadOnly
from scalable_cas.format.chunking import SMALLEST
from scalable_cas.format.kinds import BLOB, hasher, object_id
from scalable_cas.storage.cutting import Blob, ChunkWriter, window_at
from scalable_cas.storage.parallel import cores
from scalable_cas.storage.putting import whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO

    from scalable_cas.format.header import Header
    from scalable_cas.storage.index import Index
    from scalable_cas.storage.loose import Placed
    from scalable_cas.storage.objects import Objects

    Progress = Callable[[int], None]

#: A run of zeros from this length on is left out of a file: a hole begins and ends at a block, and asking the
#: file system for one costs as much as writing some blocks.
HOLE = 64 << 10
_ZEROS = bytes(HOLE)


class ObjectAccess:
    """The part of `StoreCore` that stores and reads single objects."""

    if TYPE_CHECKING:
        root: str
        read_only: bool
        strict: bool
        objects: Objects
        index: Index

        def flush(self) -> None:
            """Write what is queued."""

    def put_object(self, kind: int, content: bytes | bytearray | memoryview) -> bytes:
        """Store an object by itself, named by no entry, and return its name. gc removes it unless it is
        pinned.

        Raises:
            StoreReadOnly: it cannot be written.
        """
        return put_object(self, kind, content)

    def put_stream(self, file: BinaryIO, *, progress: Callable[[int], None] | None = None) -> bytes:
        """Store what is left to read of ``file`` as a blob, in memory of a few dozen megabytes whatever its
        length, and return its name. It is named by no entry, as in `put_object`. ``progress`` is told the
        number of bytes so far.

        Raises:
            StoreReadOnly, StoreBusy: it cannot be written.
            CollectedMeanwhile: gc came between, and the file cannot be seeked in.
            OSError: of the file.
        """
        return put_stream(self, file, progress)

    def read_stream(
        self,
        oid: bytes,
        file: BinaryIO,
        *,
        holes: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Write the content of an object to ``file`` and return its length in bytes. With ``holes`` long runs
        of zeros are left out of a file that can be seeked in, which must be empty.

        Only when this returns is the digest checked: write to a file of another name, and rename it then.

        Raises:
            ObjectNotFound, CorruptObject, ObjectUnreadable: as `Objects.get`.
            OSError: of the file.
        """
        self.flush()
        return read_stream(self, oid, file, holes and file.seekable(), progress)

    def get_object(self, oid: bytes) -> tuple[Header, bytes | memoryview]:
        """The header and the checked content of an object, also of one that is still in the queue.

        Raises:
            ObjectNotFound, CorruptObject, ObjectUnreadable: as `Objects.get`.
        """
        self.flush()
        return self.objects.get(oid, threads=cores())


def put_object(store: ObjectAccess, kind: int, content: bytes | bytearray | memoryview) -> bytes:
    """Store an object by itself and return its name: `StoreCore.put_object`."""
    view = memoryview(content).cast("B") if len(content) else memoryview(b"")
    oid = object_id(kind, view, cores())

    def put() -> dict[bytes, Placed]:
        return store.objects.put_all([(kind, oid, view, 1)], sync=store.strict, least=2)

    _publish(store, put)
    return oid


def put_stream(store: ObjectAccess, file: BinaryIO, progress: Progress | None) -> bytes:
    """Store the rest of a file as a blob: `StoreCore.put_stream`."""
    room = memoryview(bytearray(window_at(0)))
    start = file.tell() if file.seekable() else None
    held = _fill(file, room, 0)
    if held < SMALLEST:
        return put_object(store, BLOB, room[:held])
    oid = b""

    def put() -> dict[bytes, Placed]:
        nonlocal oid, held
        if oid:  # once more, because a collector came between
            if start is None:
                raise CollectedMeanwhile(store.root)
            file.seek(start)
            held = _fill(file, room, 0)
        oid, placed = _cut(store, file, room, held, progress)
        return placed

    _publish(store, put)
    return oid


def place_stream(store: ObjectAccess, file: BinaryIO) -> tuple[bytes, dict[bytes, Placed]]:
    """As `put_stream`, but no row names it yet: that is the caller's to do, under the lock, after it has
    asked whether everything is still there. Returns the name, and where all of it is.

    Raises:
        StoreReadOnly: it cannot be written.
    """
    room = memoryview(bytearray(window_at(0)))
    held = _fill(file, room, 0)
    if held >= SMALLEST:
        return _cut(store, file, room, held, None)
    oid = object_id(BLOB, room[:held], cores())
    new = (BLOB, oid, room[:held], 1)
    return oid, store.objects.put_all([new], sync=store.strict, least=2)


def _publish(store: ObjectAccess, put: Callable[[], dict[bytes, Placed]]) -> None:
    """Put objects without the lock, then name them under it, if they are still there."""
    if store.read_only:
        raise StoreReadOnly(store.root, "it is read-only")
    epoch = store.index.number("epoch")
    placed = put()

    def change(changes: Any) -> None:
        nonlocal placed
        current, again = changes.settle_epoch(epoch)
        if again and not store.objects.still(placed):  # a collector was at work since, and took some
            placed = put()
        rows = {oid: place.row(current) for oid, place in placed.items() if place.epoch != current}
        changes.put_sorted("objects", rows)

    store.index.write(change)


def _cut(
    store: ObjectAccess, file: BinaryIO, room: memoryview, held: int, progress: Progress | None
) -> tuple[bytes, dict[bytes, Placed]]:
    """Hash and store a file in one pass; its first ``held`` bytes are in ``room`` already. Its name is
    known at the end.
    """
    hashed = 0
    running = hasher(BLOB, cores())
    with ChunkWriter(store.objects, sync=store.strict) as writer:
        blob = Blob(writer)
        while True:
            last = held < len(room)
            running.update(room[hashed:held])
            done = blob.feed(room[:held], last=last)
            if progress is not None:
                progress(blob.size)
            if last:
                break
            rest, wanted = held - done, window_at(blob.size)
            larger = room if wanted <= len(room) else memoryview(bytearray(wanted))
            larger[:rest] = room[done:held]  # memmove: the two may overlap
            room, hashed = larger, rest
            held = _fill(file, room, rest)
        oid = running.digest()
        row = store.objects.known((oid,)).get(oid)
        there = whole(store.objects, BLOB, oid, blob.size, row) if row is not None else None
        if there is None:
            blob.finish(oid)
            writer.finish()
            there = writer.placed
        return oid, there


def _fill(file: BinaryIO, room: memoryview, held: int) -> int:
    """Read until ``room`` is full or the file ends; returns how many bytes are there."""
    while held < len(room):
        count = file.readinto(room[held:])  # type: ignore[attr-defined]  # every binary file has it
        if not count:
            break
        held += count
    return held


def read_stream(
    store: ObjectAccess, oid: bytes, file: BinaryIO, holes: bool, progress: Progress | None
) -> int:
    """Write the content of an object to a file: `StoreCore.read_stream`."""
    head, pieces = store.objects.pieces(oid, threads=cores())
    running, size = hasher(head.kind, cores()), 0
    out = _Sparse(file, holes=holes)
    for piece in pieces:
        running.update(piece)
        out.write(piece)
        size += len(piece)
        if progress is not None:
            progress(size)
    out.finish()
    if running.digest() != oid:
        store.objects.blame(oid)
    return size


class _Sparse:
    """Writes to a file and, with ``holes``, leaves long runs of zeros out."""

    def __init__(self, file: BinaryIO, *, holes: bool) -> None:
        self._file = file
        self._holes = holes
        self._gap = 0  # bytes left out since the last that was written

    def write(self, piece: memoryview) -> None:
        """Write the next bytes."""
        start = 0
        for at in range(0, len(piece) - HOLE + 1, HOLE) if self._holes else ():
            if not (piece[at] or piece[at + HOLE - 1]) and bytes(piece[at : at + HOLE]) == _ZEROS:
                self._put(piece[start:at])
                self._gap += HOLE
                start = at + HOLE
        self._put(piece[start:])

    def _put(self, part: memoryview) -> None:
        if len(part) and self._gap:
            self._file.seek(self._gap, io.SEEK_CUR)
            self._gap = 0
        while len(part):
            part = part[self._file.write(part) :]  # an unbuffered file may take less

    def finish(self) -> None:
        """A hole at the end is one only if something stands behind it."""
        if self._gap:
            self._gap -= 1
            self._put(memoryview(b"\0"))
