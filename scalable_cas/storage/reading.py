"""Read one encoded object out of a file, checking header, sizes and digest before a byte is handed out (I5).

A small object is read in one piece. Another is read into memory that is taken once, and each part is hashed
while it is still in the processor's cache; of a large one other cores read the next parts meanwhile.
"""

from __future__ import annotations

import os
from functools import partial

from scalable_cas.errors import CorruptObject, MalformedObject, ObjectNotFound, ObjectUnreadable
from scalable_cas.format import chunking
from scalable_cas.format import header as encoded
from scalable_cas.format.kinds import hasher, object_id
from scalable_cas.storage import memory, parallel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from scalable_cas.format.chunking import ChunkList
    from scalable_cas.format.header import Header

    Content = bytes | memoryview
    Fill = Callable[[memoryview], None]
    Part = tuple[int, Sequence[Fill]]

#: Encoded objects up to this length are read and hashed by one thread.
SMALL = 1 << 20
#: Up to this length with one call, header and all, whatever is in them: a second call costs 2 µs of 45. Raw
#: content of larger ones is read straight into the memory of the value: a copy of 1 MB costs 0.3 ms, most of
#: it for fresh pages.
ONE_CALL = 64 << 10
#: Read by one thread at a time, and hashed at a time, by all cores. The first is larger than a huge
#: page, because two threads that meet a new one both clear it (with pieces of 1 MiB the system takes 16 ms of
#: 45 for 100 MB, with 4 MiB 3 of 39); the second fits into the last-level cache.
PIECE, WINDOW = 4 << 20, 8 << 20
OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def own_header(oid: bytes, data: bytes | memoryview) -> Header:
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
    oid: bytes, data: bytes | memoryview, largest: int | None = None, threads: int = 1
) -> tuple[Header, Content | ChunkList]:
    """Header and content of an encoded object, digest checked; ``largest`` bounds the content's size in bytes
    before anything is decompressed. Of a blob in chunks, its list: what it says of the whole is only as good
    as the chunks.

    Raises:
        CorruptObject: it is not the object of that name, or longer than ``largest`` bytes.
    """
    head = own_header(oid, data)
    return head, content_of(head, data, largest, threads)


def content_of(
    head: Header, data: bytes | memoryview, largest: int | None = None, threads: int = 1
) -> Content | ChunkList:
    """The same content, where the header is known.

    Raises:
        CorruptObject: as `checked`.
        ObjectUnreadable: there is no memory for it.
    """
    payload = memoryview(data)[encoded.HEADER_BYTES :]
    try:
        _within(head, largest)
        if head.coding == encoded.CHUNKED:
            encoded.check_sizes(head, len(payload))
            return chunking.unpack(payload, head.raw_size)
        content = encoded.decode(head, payload)
    except MalformedObject as error:
        raise CorruptObject(head.oid.hex(), error.reason) from error
    except MemoryError as error:
        raise _no_memory(head) from error
    if object_id(head.kind, content, threads) != head.oid:
        raise CorruptObject(head.oid.hex(), "its content has another digest")
    return content


def _no_memory(head: Header) -> ObjectUnreadable:
    return ObjectUnreadable(head.oid.hex(), f"there is no memory for its {head.raw_size} bytes")


def _within(head: Header, largest: int | None) -> None:
    if largest is not None and head.raw_size > largest:
        raise MalformedObject("object", f"{head.raw_size} bytes where at most {largest} are expected")


def load(
    oid: bytes,
    fd: int,
    offset: int,
    length: int,
    *,
    threads: int = 1,
    largest: int | None = None,
    frozen: bool = False,
) -> tuple[Header, Content | ChunkList]:
    """`checked` for the encoded object of ``length`` bytes at ``offset`` of an open file. Large content is
    writable memory that nobody else has, or with ``frozen`` a ``bytes``.

    Raises:
        CorruptObject: as `checked`, or the file ends early.
        ObjectUnreadable: there is no memory for it.
        OSError: the system would not let us read it.
    """
    if length <= ONE_CALL:
        return checked(oid, _exactly(oid, fd, offset, length), largest, threads)
    head = own_header(oid, _exactly(oid, fd, offset, encoded.HEADER_BYTES))
    if head.coding != encoded.RAW or (frozen and length <= SMALL):
        return checked(oid, _exactly(oid, fd, offset, length), largest, threads)
    threads = threads if length > SMALL else 1
    try:
        _within(head, largest)
        encoded.check_sizes(head, length - encoded.HEADER_BYTES)
    except MalformedObject as error:
        raise CorruptObject(oid.hex(), error.reason) from error

    start = offset + encoded.HEADER_BYTES

    def part(at: int) -> Part:
        size = min(WINDOW, head.raw_size - at)

        def fill(piece: int) -> Fill:
            return lambda target: into(oid, fd, target[piece : piece + PIECE], start + at + piece)

        return size, [fill(piece) for piece in range(0, size, PIECE)]

    parts = map(part, range(0, head.raw_size, WINDOW))
    return head, filled(oid, head, parts, threads, frozen=frozen)


def filled(oid: bytes, head: Header, parts: Iterable[Part], threads: int, *, frozen: bool) -> Content:
    """The content of an object, which is put in place part by part: each is a number of bytes, and functions
    that fill them between them. They are hashed while the processor's cache still holds them.

    Raises:
        CorruptObject: it has another digest.
        ObjectUnreadable: there is no memory for it.
    """
    try:
        taken = memory.Bytes(head.raw_size) if frozen else memory.Writable(head.raw_size)
    except (MemoryError, OverflowError, OSError, ValueError) as error:
        raise _no_memory(head) from error
    running = hasher(head.kind, threads)

    def steps() -> Iterator[parallel.Step[memoryview]]:
        at = 0
        for size, fills in parts:
            view = taken.view[at : at + size]
            at += size
            yield view, [partial(fill, view) for fill in fills]

    def check(view: memoryview) -> None:
        running.update(view)
        view.release()

    parallel.in_order(steps(), check, threads if head.raw_size > PIECE else 1)
    if running.digest() != oid:
        raise CorruptObject(oid.hex(), "its content has another digest")
    return taken.finish()


def _exactly(oid: bytes, fd: int, offset: int, length: int) -> bytes:
    data = os.pread(fd, length, offset)
    if len(data) == length:
        return data
    whole = bytearray(length)
    into(oid, fd, memoryview(whole), offset)  # the system gives 2 GiB at a time
    return bytes(whole)


def pread(fd: int, length: int, offset: int) -> bytes:
    """Some bytes of an open file; fewer where it ends, or none where the system would not let us read it."""
    try:
        return os.pread(fd, length, offset)
    except OSError:
        return b""


def into(oid: bytes, fd: int, target: memoryview, offset: int) -> None:
    """Fill ``target`` from ``offset`` of an open file.

    Raises:
        CorruptObject: it ends early.
    """
    done = 0
    while done < len(target):
        count = os.preadv(fd, [target[done:]], offset + done)
        if not count:
            raise CorruptObject(oid.hex(), "its file ends early")
        done += count


def stream(oid: bytes, fd: int, head: Header, length: int) -> Iterator[memoryview]:
    """Yield the content of an object that is no list of chunks, of ``length`` encoded bytes in the file that
    ``fd`` has open, piece by piece; each is only good until the next is asked for. Its digest is not checked.

    Raises:
        CorruptObject: its sizes do not fit, or its frame is damaged.
        OSError: the system would not let us read it.
    """
    try:
        encoded.check_sizes(head, length - encoded.HEADER_BYTES)
        with open(fd, "rb", buffering=0, closefd=False) as file:
            file.seek(encoded.HEADER_BYTES)
            yield from encoded.decode_stream(head, file)
    except MalformedObject as error:
        raise CorruptObject(oid.hex(), error.reason) from error


def reraised(oid: bytes, error: OSError, path: str) -> Exception:
    """Our error for one that the system gave for the file of an object."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ObjectNotFound(oid.hex())
    if os.path.islink(path) or (os.path.lexists(path) and not os.path.isfile(path)):
        return CorruptObject(oid.hex(), "its file is no regular file")
    return ObjectUnreadable(oid.hex(), error.strerror or str(error))
