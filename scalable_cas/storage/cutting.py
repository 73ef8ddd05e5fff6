"""Store large blobs in chunks: cut, name, look for what is there, compress the rest, write it. Keeps I1.

All of it happens on a window of some megabytes at a time, with all cores at each step; the rest of the blob
may still be on its way. So neither gigabytes in memory nor a stream of unknown length needs more than a few
windows. New chunks go into packs, one after the other: a file for each would cost more than its content. The
blob's list of chunks follows them in the same pack.

A chunk that is there already is a promise of the index, which may lie; it is read and checked, which costs
less than storing it again. Whether it is still there when the blob is published is asked then, under the lock
(I2: `StoreCore` and `Writer`).
"""

from __future__ import annotations

from functools import partial
from zlib import crc32

from scalable_cas.errors import CorruptObject
from scalable_cas.format import chunking, compression
from scalable_cas.format import header as encoded
from scalable_cas.format.chunking import ChunkList
from scalable_cas.format.kinds import BLOB, object_id
from scalable_cas.storage import parallel
from scalable_cas.storage.chunks import Packfiles, runs
from scalable_cas.storage.loose import Placed
from scalable_cas.storage.packing import TARGET, PackStream
from scalable_cas.storage.reading import checked, pread

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Self, TypeVar

    from scalable_cas.format.header import Header
    from scalable_cas.format.rows import ObjectRow
    from scalable_cas.storage.chunks import Run
    from scalable_cas.storage.objects import Objects

    Content = bytes | bytearray | memoryview
    T = TypeVar("T")
    Fresh = tuple[Header, bytes, Content, int]  # header, the same as bytes, payload, CRC-32 of both
    Item = tuple[bytes, Header, bytes, Content, int]  # a name, and the same

#: Bytes that are cut and stored at a time: within the last-level cache. More where chunks are larger.
WINDOW = 8 << 20
#: Raw numeric arrays larger than this stay in one piece, which can be mapped, and is read with no look-up.
#: Compressible ones are cut at fixed places: nothing is ever inserted into them.
ARRAY_BYTES = 32 << 20
#: Up to this many bytes a blob is cut by one thread beside others, as columns are read (`store.buffers`).
ALONE = 16 << 20
#: Bytes of pieces that are handed to a thread together: small ones take a few microseconds each.
_TOGETHER = 512 << 10


def window_at(offset: int) -> int:
    """How many bytes to hand to `Blob.feed` at an offset, at least, unless they are the last."""
    return max(WINDOW, 8 * chunking.average_at(offset))


class ChunkWriter:
    """Stores the chunks of blobs. A context manager; ``placed`` holds every chunk and list that is in its
    place, which for those that are new is after `finish`. What a ``finish`` did not follow leaves nothing.

    Raises, in what it does:
        StoreReadOnly: the store cannot be written.
    """

    def __init__(self, objects: Objects, *, sync: bool) -> None:
        self.placed: dict[bytes, Placed] = {}
        self.threads = parallel.cores()
        self._objects = objects
        self._sync = sync
        self._packs: list[PackStream] = []  # the last one is being written, the others are full
        self._heads: list[dict[bytes, Header]] = []  # what is in each
        self._written: set[bytes] = set()
        self._zeros: dict[int, bytes] = {}
        self._waiting: list[Item] = []  # encoded, to be written while the next ones are encoded

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for pack in self._packs:
            pack.close()

    def put(self, blobs: Sequence[tuple[bytes, memoryview, int]]) -> None:
        """Store blobs that are in memory: name, content, and the size in bytes of the numbers that it is made
        of.

        A frame has one for each column. To cut one is the work of one thread; so while one is looked up,
        compressed and written, the next ones of such a size are cut and their chunks named.
        """

        def steps() -> Iterator[parallel.Step[tuple[bytes, memoryview, Blob]]]:
            for oid, content, item in blobs:
                average = chunking.array_average(len(content)) if item > 1 else 0
                blob = Blob(self, item, average, fixed=item > 1 and len(content) > ARRAY_BYTES)
                ahead = len(content) <= ALONE
                yield (oid, content, blob), [partial(blob.cut_ahead, content)] if ahead else []

        def store(step: tuple[bytes, memoryview, Blob]) -> None:
            oid, content, blob = step
            blob.store_all(content)
            blob.finish(oid)

        parallel.in_order(steps(), store, self.threads if len(blobs) > 1 else 1)

    def finish(self) -> None:
        """Publish the packs."""
        self.settle()
        if self._packs:
            self._packs[-1].seal()
        for pack, heads in zip(self._packs, self._heads, strict=True):
            written = pack.publish()
            for oid, head in heads.items():
                offset, length = written.places[oid]
                self.placed[oid] = Placed(
                    written.inode,
                    written.changed,
                    length,
                    head.coding,
                    kind=BLOB,
                    size=head.raw_size,
                    pack=written.name,
                    offset=offset,
                )

    def zero_name(self, length: int) -> bytes:
        """The name of a chunk of zeros."""
        found = self._zeros.get(length)
        if found is None:
            found = self._zeros[length] = object_id(BLOB, bytes(length))
        return found

    def store(self, pieces: dict[bytes, memoryview], item: int) -> None:
        """Store chunks by their names, where they are not there already; ``item`` as in `Objects.put`."""
        new = [oid for oid in pieces if oid not in self.placed and oid not in self._written]
        if new:
            self.placed |= self._whole({oid: pieces[oid] for oid in new})
            new = [oid for oid in new if oid not in self.placed]
        if not new:
            return
        content = [pieces[oid] for oid in new]
        filter_, level = _plan(content, item)
        if filter_:
            self._objects.need("shuffle")
        fresh: dict[bytes, Fresh] = {}

        def encode(oids: list[bytes]) -> None:
            for oid in oids:
                head, payload = encoded.encode_as(BLOB, oid, pieces[oid], filter_, level)
                packed = head.pack()
                fresh[oid] = head, packed, payload, crc32(payload, crc32(packed))

        jobs = [partial(encode, group) for group in _together(new, content)]
        parallel.each(lambda job: job(), [self.settle, *jobs], self.threads)
        self._waiting = [(oid, *fresh[oid]) for oid in new]
        self._written.update(new)

    def settle(self) -> None:
        """Write what is encoded. Until then the memory that chunks were cut from must stay as it is."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._write(waiting)

    def list_chunks(self, oid: bytes, listed: ChunkList) -> None:
        """Store the list of a blob all of whose chunks are stored."""
        self._objects.need("chunked")
        payload = listed.pack()
        head = encoded.Header(BLOB, encoded.CHUNKED, encoded.NO_FILTER, listed.size, len(payload), oid)
        packed = head.pack()
        if oid not in self._written:
            self._written.add(oid)
            self._waiting.append((oid, head, packed, payload, crc32(payload, crc32(packed))))

    def _write(self, items: list[Item]) -> None:
        if not self._packs or self._packs[-1].size >= TARGET:
            if self._packs:
                self._packs[-1].seal()
            self._packs.append(PackStream(self._objects.packs, sync=self._sync, threads=self.threads))
            self._heads.append({})
        self._packs[-1].add([(oid, packed, payload, crc) for oid, _, packed, payload, crc in items])
        for oid, head, *_ in items:
            self._heads[-1][oid] = head

    def _whole(self, pieces: dict[bytes, memoryview]) -> dict[bytes, Placed]:
        """Which of some chunks the index knows, and are there and whole."""
        found: dict[bytes, Placed] = {}
        with Packfiles(self._objects) as files:
            jobs, others = runs(self._objects, [(oid, len(piece), 0) for oid, piece in pieces.items()])
            files.open({run.pack for run in jobs})
            states = {run.pack: self._objects.packs.stat(run.pack) for run in jobs}

            def check(run: Run) -> None:
                fd, seen, start = files.fd(run.pack), states[run.pack], 0
                if fd is None or seen is None:
                    return
                data = pread(fd, run.length, run.offset)
                for oid, _, fields in run.members:
                    _, _, coding, _, size, stored, epoch, pack, offset = fields
                    if _is_whole(oid, data[start : start + stored], pieces[oid]):
                        found[oid] = Placed(
                            seen.st_ino,
                            seen.st_mtime_ns,
                            stored,
                            coding,
                            kind=BLOB,
                            size=size,
                            pack=pack,
                            offset=offset,
                            epoch=epoch,
                        )
                    else:
                        self._objects.damaged.add(pack)
                    start += stored

            parallel.each(check, jobs, self.threads)
        known = self._objects.known([oid for oid, _, _ in others])
        for oid, size, _ in others:
            there = self._objects.loose.whole(BLOB, oid, size) if oid in known else None
            if there is not None:
                found[oid] = there
        return found


class Blob:
    """One blob that is being cut. ``item``: the size in bytes of the numbers that it is made of; ``average``:
    the size of chunks, 0 if it follows from the place; ``fixed``: all but the last are exactly as long.
    """

    def __init__(self, writer: ChunkWriter, item: int = 1, average: int = 0, *, fixed: bool = False) -> None:
        self._writer = writer
        self._item = item
        self._average = average
        self._fixed = fixed
        self._chunker = chunking.FIXED
        self._chunks: list[tuple[bytes, int]] = []
        self._ahead: list[dict[bytes, memoryview]] = []
        self.size = 0

    def feed(self, view: memoryview, *, last: bool) -> int:
        """Store what can be cut of the next bytes, and return how many that is; the rest is to be handed in
        again with what follows it. Until the ``last``, at least `window_at` bytes.
        """
        if not len(view):  # the stream ended where a chunk did
            return 0
        before = self.size
        self._writer.store(self._named(view, self._writer.threads, last=last), self._item)
        self._writer.settle()  # the caller's memory is its own again
        return self.size - before

    def store_all(self, content: memoryview) -> None:
        """Store what `cut_ahead` has left of a blob that is in memory."""
        for window, last in self._windows(content):
            self._writer.store(self._named(window, self._writer.threads, last=last), self._item)

    def cut_ahead(self, content: memoryview) -> None:
        """Cut the whole blob and name its chunks, in one thread; `finish` stores them."""
        for window, last in self._windows(content):
            self._ahead.append(self._named(window, 1, last=last))

    def _windows(self, content: memoryview) -> Iterator[tuple[memoryview, bool]]:
        """What is to be cut next, and whether it is the last, until nothing is left."""
        while self.size < len(content):
            window = content[self.size : self.size + window_at(self.size)]
            yield window, self.size + len(window) == len(content)

    def _named(self, view: memoryview, threads: int, *, last: bool) -> dict[bytes, memoryview]:
        """The next chunks by their names."""
        lengths, zeros = self._cut(view, last=last)
        pieces, at = [], 0
        for length in lengths:
            pieces.append(view[at : at + length])
            at += length
        names = [self._writer.zero_name(length) for length in lengths] if zeros else _names(pieces, threads)
        self._chunks += zip(names, lengths, strict=True)
        self.size += at
        return dict(zip(names, pieces, strict=True))

    def _cut(self, view: memoryview, *, last: bool) -> tuple[list[int], bool]:
        """The lengths of the chunks, and whether all are zeros: those need no search and no hash each."""
        if _is_zero(view):
            length = self._average or chunking.average_at(self.size)
            return self._even(view, length if self._fixed else 4 * length, last=last), True
        if self._fixed:
            return self._even(view, self._average, last=last), False
        self._chunker, ends = chunking.cuts(view, self.size, self._item, last=last, average=self._average)
        return [end - start for start, end in zip([0, *ends], ends, strict=False)], False

    def _even(self, view: memoryview, length: int, *, last: bool) -> list[int]:
        lengths = list(chunking.fixed_cuts(len(view), min(length, chunking.LARGEST_CHUNK)))
        return lengths if last or lengths[-1] == lengths[0] else lengths[:-1]

    def finish(self, oid: bytes) -> None:
        """All is handed in: store the list under the blob's name."""
        for pieces in self._ahead:
            self._writer.store(pieces, self._item)
        self._writer.list_chunks(oid, ChunkList(self._chunker, self.size, self._chunks))


def placed_at(row: ObjectRow, seen: os.stat_result, head: Header | None = None) -> Placed:
    """An object that is where its row says, in a file of that state; ``head``: if its header was read."""
    return Placed(
        seen.st_ino,
        seen.st_mtime_ns,
        row.stored,
        row.coding if head is None else head.coding,
        kind=row.kind if head is None else head.kind,
        size=row.size,
        pack=row.pack,
        offset=row.offset,
        epoch=row.epoch,
    )


def _is_whole(oid: bytes, data: bytes, piece: memoryview) -> bool:
    """Whether some bytes of a pack are the object of this name and content."""
    size = len(piece)
    if len(data) == encoded.HEADER_BYTES + size:
        # What we would write: a fifth of what reading its header and hashing it takes, for 16 KiB.
        head = encoded.Header(BLOB, encoded.RAW, encoded.NO_FILTER, size, size, oid)
        if data == b"".join((head.pack(), piece)):
            return True
    try:
        head, content = checked(oid, data, size)
    except CorruptObject:
        return False
    return head.kind == BLOB and not isinstance(content, ChunkList) and len(content) == size


def _names(pieces: list[memoryview], threads: int) -> list[bytes]:
    names: list[bytes] = [b""] * len(pieces)

    def name(numbers: list[int]) -> None:
        for number in numbers:
            names[number] = object_id(BLOB, pieces[number])

    parallel.each(name, _together(range(len(pieces)), pieces), threads)
    return names


def _together(items: Sequence[T], pieces: Iterable[memoryview]) -> list[list[T]]:
    """Items in groups of about `_TOGETHER` bytes; ``pieces``: what each stands for."""
    groups: list[list[T]] = []
    room = 0
    for item, piece in zip(items, pieces, strict=True):
        if room <= 0:
            groups.append([])
            room = _TOGETHER
        groups[-1].append(item)
        room -= len(piece)
    return groups


def _plan(pieces: list[memoryview], item: int) -> tuple[int | None, int]:
    """How to store new chunks that were cut from one window, filter and level: judged by four of them."""
    step = max(len(pieces) // compression.SAMPLES, 1)
    samples = [piece[: compression.SAMPLE] for piece in pieces[::step][: compression.SAMPLES]]
    return compression.plan_large(samples, item)


def _is_zero(view: memoryview) -> bool:
    """Whether there is nothing but zeros: almost always told by three bytes."""
    size = len(view)
    return bool(size) and not (view[0] or view[size // 2] or view[-1]) and bytes(view) == bytes(size)
