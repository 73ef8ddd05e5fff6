"""Read blobs that are stored in chunks. Keeps I5: what is handed out has the digest of the whole.

The naive way looks each chunk up, opens its pack and verifies it: 30 µs for each of the 1,600 chunks of a
frame, three times what the reading costs. But the chunks of a blob were written one after the other, and the
digest of the whole covers them all. So neighbours in a pack are read by one call straight into their places,
their headers beside; if the digest then is another, or a pack is not where the index says, the slow way finds
out what is wrong, and which chunk it is. A blob that had nothing in common with any before it is all in one
place, raw chunks and then the list: two looks tell, and nothing else need be looked up.
"""

from __future__ import annotations

import os
from functools import partial
from itertools import accumulate, pairwise, zip_longest

from scalable_cas.errors import CorruptObject, MalformedObject, ObjectNotFound
from scalable_cas.format import header as encoded
from scalable_cas.format import rows
from scalable_cas.format.header import CHUNKED
from scalable_cas.format.kinds import BLOB, hasher
from scalable_cas.format.pack import HEAD_BYTES
from scalable_cas.storage import parallel
from scalable_cas.storage.reading import OPEN, WINDOW, filled, own_header, pread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, NoReturn, Self

    from scalable_cas.format.chunking import ChunkList
    from scalable_cas.format.header import Header
    from scalable_cas.storage.objects import Objects
    from scalable_cas.storage.reading import Fill, Part

    Content = bytes | memoryview
    Chunk = tuple[bytes, int]  # name, length
    Wanted = tuple[bytes, int, int]  # name, length, place in what the caller has

#: Neighbours that are read together: bytes (a huge page, for the reason given in `reading.PIECE`), and pieces
#: that one call of the system takes (IOV_MAX is 1,024, and each chunk is two: header and content).
RUN_BYTES, RUN_CHUNKS = 2 << 20, 500
_SIZE, _STORED = 4, 5  # in the fields of a row


class Run:
    """Objects that stand one after the other in a pack. ``members``: of each its name, its place in what the
    caller has, and the fields of its row (`rows.PACKED_OBJECT`); ``raw``: none is compressed.
    """

    __slots__ = ("length", "members", "offset", "pack", "raw")

    def __init__(self, pack: bytes, offset: int) -> None:
        self.pack = pack
        self.offset = offset
        self.length = 0
        self.raw = True
        self.members: list[tuple[bytes, int, tuple[Any, ...]]] = []


class _Stretch:
    """Raw chunks that stand one after the other at ``offset`` of a pack; ``ends``: where the first begins and
    where each ends in what the caller has; ``length``: with their headers.
    """

    __slots__ = ("chunks", "ends", "length", "offset")

    def __init__(self, chunks: list[Chunk], at: int, offset: int) -> None:
        self.chunks = chunks
        self.ends = list(accumulate((length for _, length in chunks), initial=at))
        self.offset = offset
        self.length = self.ends[-1] - at + encoded.HEADER_BYTES * len(chunks)


def runs(objects: Objects, wanted: Sequence[Wanted]) -> tuple[list[Run], list[Wanted]]:
    """Find objects (name, size, place in what the caller has) that lie in packs as the index says, and join
    neighbours, in the order that is given; and those that are not in a pack, or of which it knows nothing or
    something else.
    """
    found: list[Run] = []
    others: list[Wanted] = []
    run, end = None, 0
    unpack, length = rows.PACKED_OBJECT.unpack, rows.PACKED_OBJECT.size
    data = objects.index.object_data([oid for oid, _, _ in wanted]) if objects.index is not None else ()
    expected = objects.expected
    for item, row in zip_longest(wanted, data):
        row = row or expected.get(item[0])  # noqa: PLW2901
        if row is None or len(row) != length:
            others.append(item)
            continue
        fields = unpack(row)
        _, kind, coding, _, size, stored, _, pack, offset = fields
        if size != item[1] or kind != BLOB or coding == CHUNKED:
            others.append(item)
            continue
        if (
            run is None
            or offset != end
            or run.pack != pack
            or run.length >= RUN_BYTES
            or len(run.members) == RUN_CHUNKS
        ):
            run, end = Run(pack, offset), offset
            found.append(run)
        run.members.append((item[0], item[2], fields))
        run.length += stored
        end += stored
        if coding:
            run.raw = False
    return found, others


class Packfiles:
    """Packs held open while some objects are read from them; one that cannot be opened is None."""

    def __init__(self, objects: Objects) -> None:
        self._packs = objects.packs
        self._open: dict[bytes, int | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for fd in self._open.values():
            if fd is not None:
                os.close(fd)

    def open(self, names: set[bytes]) -> None:
        """Open those packs: before threads ask for them."""
        for name in names - self._open.keys():
            try:
                self._open[name] = os.open(self._packs.path(name), OPEN)
            except OSError:
                self._open[name] = None

    def fd(self, name: bytes) -> int | None:
        """The descriptor of a pack that `open` was called for."""
        return self._open[name]


def whole(
    objects: Objects,
    head: Header,
    listed: ChunkList,
    threads: int,
    *,
    frozen: bool,
    spot: tuple[bytes, int, int] | None = None,
) -> Content:
    """The content of a blob in chunks, digest checked; ``spot``: the pack, offset and length of its list.

    Raises:
        CorruptObject: naming the chunk that is damaged, or the blob if a chunk is missing or the list is
            wrong.
        ObjectUnreadable: a chunk cannot be read, or there is no memory for the whole.
    """
    oid = head.oid
    try:
        with Packfiles(objects) as files:
            reader = _Reader(objects, oid, files)
            if spot is not None:
                reader.look_before(listed, spot[0], spot[1])
            return filled(oid, head, _parts(listed, reader.fills), threads, frozen=frozen)
    except CorruptObject as error:
        if error.oid != oid.hex():
            raise
    # The index, or what we took for granted, was wrong; or a chunk is. The slow way tells, or serves.
    careful = _Careful(objects, oid)
    return filled(
        oid, head, _parts(listed, lambda group: [partial(careful.fill, group)]), threads, frozen=frozen
    )


def stream(objects: Objects, oid: bytes, listed: ChunkList, threads: int) -> Iterator[memoryview]:
    """Yield the content of a blob in chunks, piece by piece; each is only good until the next is asked for.
    The digest of the whole is not checked; each chunk's is only where it is not where the index says.

    Raises:
        CorruptObject, ObjectUnreadable: as `whole`.
    """
    room = bytearray()
    with Packfiles(objects) as files:
        reader = _Reader(objects, oid, files)
        for group in groups(listed, WINDOW if threads > 1 else RUN_BYTES):
            size = sum(length for _, length in group)
            if len(room) < size:
                room = bytearray(size + (size >> 3))  # the next may be a little larger: new memory is slow
            part = memoryview(room)[:size]
            jobs = [partial(fill, part) for fill in reader.fills(group)]
            parallel.each(lambda job: job(), jobs, threads)
            yield part


def check(objects: Objects, oid: bytes, listed: ChunkList) -> bool:
    """Whether the chunks of a blob make up what its name promises. False too if one of them is damaged or
    gone, which is that chunk's fault.

    Raises:
        CorruptObject: each chunk is whole, but the list is wrong.
        ObjectUnreadable: a chunk cannot be read.
    """
    running = hasher(BLOB)
    try:
        for piece in stream(objects, oid, listed, 1):
            running.update(piece)
    except CorruptObject as error:
        return _excused(objects, oid, listed, error)
    if running.digest() == oid:
        return True
    try:
        blame(objects, oid, listed)
    except CorruptObject as error:
        return _excused(objects, oid, listed, error)


def _excused(objects: Objects, oid: bytes, listed: ChunkList, error: CorruptObject) -> bool:
    """False if a fault that was met in a blob is that of one of its chunks, which may be gone.

    Raises:
        CorruptObject: it is the blob's own.
    """
    if error.oid == oid.hex() and all(objects.place(name) is not None for name, _ in listed.chunks):
        raise error
    return False


def blame(objects: Objects, oid: bytes, listed: ChunkList) -> NoReturn:
    """Say why the chunks of a blob do not make up what its name promises.

    Raises:
        CorruptObject: naming the chunk that is damaged, or the blob if a chunk is missing or the list is
            wrong.
        ObjectUnreadable: a chunk cannot be read.
    """
    careful = _Careful(objects, oid)
    for chunk in listed.chunks:
        careful.chunk(chunk)
    raise CorruptObject(oid.hex(), "its chunks make up another content")


def groups(listed: ChunkList, size: int = WINDOW) -> Iterator[list[Chunk]]:
    """The chunks of a blob, about ``size`` bytes at a time."""
    group: list[Chunk] = []
    total = 0
    for chunk in listed.chunks:
        group.append(chunk)
        total += chunk[1]
        if total >= size:
            yield group
            group, total = [], 0
    if group:
        yield group


def _parts(listed: ChunkList, fills: Callable[[list[Chunk]], Sequence[Fill]]) -> Iterator[Part]:
    for group in groups(listed):
        yield sum(length for _, length in group), fills(group)


class _Careful:
    """Fetches chunks one by one, each checked, wherever it lies. ``oid``: the blob that they are of."""

    def __init__(self, objects: Objects, oid: bytes) -> None:
        self._objects = objects
        self._oid = oid.hex()

    def chunk(self, chunk: Chunk) -> Content:
        """One chunk's content.

        Raises:
            CorruptObject: it is damaged; or it is gone, or is none, which makes the blob damaged.
            ObjectUnreadable: it cannot be read.
        """
        name, length = chunk
        try:
            head, content = self._objects.in_one(name, largest=length)
        except ObjectNotFound as error:
            raise CorruptObject(self._oid, f"its chunk {name.hex()} is missing") from error
        if head.kind != BLOB or len(content) != length:
            raise CorruptObject(self._oid, f"its chunk {name.hex()} is of another kind or size")
        return content

    def fill(self, group: list[Chunk], target: memoryview) -> None:
        """Put the contents of some chunks one after the other into ``target``."""
        at = 0
        for chunk in group:
            target[at : at + chunk[1]] = self.chunk(chunk)
            at += chunk[1]


class _Reader:
    """The quick way."""

    def __init__(self, objects: Objects, oid: bytes, files: Packfiles) -> None:
        self._objects = objects
        self._careful = _Careful(objects, oid)
        self._files = files
        self._pack, self._next = b"", 0  # where the next chunk is, if all lie before the list

    def look_before(self, listed: ChunkList, pack: bytes, offset: int) -> None:
        """See whether the chunks lie one after the other, raw, before their list at ``offset`` of a pack."""
        start = offset - listed.size - encoded.HEADER_BYTES * len(listed.chunks)
        self._files.open({pack})
        fd = self._files.fd(pack)
        if fd is None or start < HEAD_BYTES or not listed.chunks:
            return
        (first, _), (last, length) = listed.chunks[0], listed.chunks[-1]
        end = offset - length - encoded.HEADER_BYTES
        if (
            pread(fd, encoded.HEADER_BYTES, start)[encoded.NAME] == first
            and pread(fd, encoded.HEADER_BYTES, end)[encoded.NAME] == last
        ):
            self._pack, self._next = pack, start

    def _before(self, group: list[Chunk]) -> list[_Stretch]:
        """Chunks of which `look_before` said where they are."""
        total = sum(length for _, length in group)
        count = max(1, min(RUN_CHUNKS, RUN_BYTES * len(group) // total))
        found, at = [], 0
        for start in range(0, len(group), count):
            found.append(_Stretch(group[start : start + count], at, self._next))
            at = found[-1].ends[-1]
            self._next += found[-1].length
        return found

    def fills(self, group: list[Chunk]) -> Sequence[Fill]:
        """Functions that put the contents of some chunks one after the other, between them. To be asked for
        in the order of the blob.
        """
        if self._pack:
            return [partial(self._read_stretch, stretch) for stretch in self._before(group)]
        starts = accumulate((length for _, length in group), initial=0)
        wanted = [(oid, length, at) for (oid, length), at in zip(group, starts, strict=False)]
        found, others = runs(self._objects, wanted)
        self._files.open({run.pack for run in found})
        alone = [partial(self._fetch, [one]) for one in others]
        return [*(partial(self._read_run, run) for run in found), *alone]

    def _fetch(self, wanted: list[Wanted], target: memoryview) -> None:
        for oid, length, at in wanted:
            target[at : at + length] = self._careful.chunk((oid, length))

    def _read_run(self, run: Run, target: memoryview) -> None:
        if not self._read(run, target):
            self._fetch([(oid, fields[_SIZE], at) for oid, at, fields in run.members], target)

    def _read_stretch(self, stretch: _Stretch, target: memoryview) -> None:
        fd = self._files.fd(self._pack)
        aside = memoryview(bytearray(encoded.HEADER_BYTES))
        parts = [aside] * (2 * len(stretch.chunks))
        parts[1::2] = [target[start:end] for start, end in pairwise(stretch.ends)]
        try:
            whole = fd is not None and os.preadv(fd, parts, stretch.offset) == stretch.length
        except OSError:
            whole = False
        # the last header: all before it fits too
        if not whole or aside[encoded.NAME] != stretch.chunks[-1][0]:
            self._careful.fill(stretch.chunks, target[stretch.ends[0] : stretch.ends[-1]])

    def _read(self, run: Run, target: memoryview) -> bool:
        """Read a run; False if that did not go as expected, and each of its chunks must be looked for."""
        fd = self._files.fd(run.pack)
        if fd is None:
            return False
        try:
            if run.raw:
                aside = memoryview(bytearray(encoded.HEADER_BYTES))
                parts: list[memoryview] = []
                for _, at, fields in run.members:
                    parts += (aside, target[at : at + fields[_SIZE]])
                if os.preadv(fd, parts, run.offset) != run.length:
                    return False
                return aside[encoded.NAME] == run.members[-1][0]  # the last header: all before it fits too
            data, start = memoryview(os.pread(fd, run.length, run.offset)), 0
            for oid, at, fields in run.members:
                end = start + fields[_STORED]
                head = own_header(oid, data[start:end])
                payload = data[start + encoded.HEADER_BYTES : end]
                encoded.decode_into(head, payload, target[at : at + fields[_SIZE]])
                start = end
        except (OSError, CorruptObject, MalformedObject):
            return False
        return True
