"""How a large blob is cut, and the list that keeps its chunks together (format-v1, section 9).

A blob that is stored in chunks keeps its kind and its name, the digest of the whole. What is stored under
that name is a list of blobs; each of them is an object like any other. So equal parts of two blobs are one
object, and a reader checks the digest of the whole whatever the list says.

Where cuts fall is up to the writer. Two things were wanted: what is inserted in the middle must not move the
cuts behind it (they are found by content), and a file that grows must keep the cuts that it had. So the size
of chunks follows from the place in the blob, not from its length: fine at the front, coarse behind, where a
list would grow long. Arrays are rather changed than appended to: theirs follows from their size, so that all
have a few hundred chunks.
"""

from __future__ import annotations

from struct import Struct
from zlib import crc32

from scalable_cas.errors import MalformedObject

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    Cutter = Callable[[memoryview], Iterator[int]]

FIXED, FASTCDC = 0, 1
_VERSION = 1
_HEAD = Struct("<BB2xIQ")  # version, chunker, number of chunks, size of the whole
_CHUNK = Struct("<32sI")  # name, length
_CRC = Struct("<I")

#: Content from this many bytes on is stored in chunks: below it a list, a second look-up and a file opened
#: twice cost more than shared parts save.
SMALLEST = 1 << 20
#: (up to this offset in the blob, average size of a chunk there). The last is what the cutter can do. 100 GB
#: are 80,000 chunks, a list of 3 MB.
AVERAGES = ((64 << 20, 32 << 10), (1 << 30, 256 << 10), (64 << 30, 1 << 20), (1 << 62, 4 << 20))
LARGEST_CHUNK = 16 << 20
#: (up to this size of an array, average size of its chunks). A change of 1 % of a column costs that and two
#: chunks; each chunk costs 300 to 400 bytes in the pack and the index (figures: docs/decisions/0010).
ARRAY_AVERAGES = ((8 << 20, 16 << 10), (16 << 20, 32 << 10), (32 << 20, 64 << 10))
#: Larger arrays are cut at fixed places: nothing is ever inserted into them.
ARRAY_CHUNK = 1 << 20


class ChunkList:
    """The chunks of a blob in their order: (name, length in bytes). ``size`` is that of the whole."""

    __slots__ = ("chunker", "chunks", "size")

    def __init__(self, chunker: int, size: int, chunks: Sequence[tuple[bytes, int]]) -> None:
        self.chunker = chunker
        self.size = size
        self.chunks = chunks

    def pack(self) -> bytes:
        """The payload of the blob's object."""
        parts = [_HEAD.pack(_VERSION, self.chunker, len(self.chunks), self.size)]
        parts.extend(_CHUNK.pack(*chunk) for chunk in self.chunks)
        data = b"".join(parts)
        return data + _CRC.pack(crc32(data))


def unpack(payload: bytes | memoryview, size: int) -> ChunkList:
    """Read a list of chunks; ``size`` is what the object's header says of the whole.

    Raises:
        MalformedObject: damaged, of an unknown version, or its lengths do not add up.
    """
    view = memoryview(payload)
    end = len(view) - _CRC.size
    if end < _HEAD.size or _CRC.unpack_from(view, end)[0] != crc32(view[:end]):
        raise MalformedObject("chunk list", "its checksum does not match")
    version, chunker, count, whole = _HEAD.unpack_from(view)
    if version != _VERSION:
        raise MalformedObject("chunk list", f"version {version} is not known here")
    if end != _HEAD.size + count * _CHUNK.size or whole != size:
        raise MalformedObject("chunk list", "its sizes do not agree")
    chunks = list(_CHUNK.iter_unpack(view[_HEAD.size : end]))
    lengths = [length for _, length in chunks]
    if sum(lengths) != size or (lengths and not 0 < min(lengths) <= max(lengths) <= LARGEST_CHUNK):
        raise MalformedObject("chunk list", "the lengths of its chunks are wrong")
    return ChunkList(chunker, whole, chunks)


def average_at(offset: int) -> int:
    """The average size of chunks that start at ``offset`` of a blob."""
    return next(average for limit, average in AVERAGES if offset < limit)


_fast: Any = None


def _fastcdc() -> Any:
    """The class FastCDC, or False: without its C extension it does 15 MB/s, and fixed cuts are better."""
    global _fast
    if _fast is None:
        import warnings

        # For good: `catch_warnings` in two threads at once can leave the filters of one of them behind.
        warnings.filterwarnings("ignore", message="Failed to import pyfastcdc cython extension")
        try:
            from pyfastcdc.cy import FastCDC

            _fast = FastCDC
        except ImportError:
            _fast = False
    return _fast


def cutter(average: int) -> tuple[int, Cutter]:
    """The chunker's number, and a function that gives the lengths of the chunks of some bytes, the last of
    which ends where they end.
    """
    made = _fastcdc()
    if not made:
        return FIXED, lambda view: fixed_cuts(len(view), average)
    cut = made(average, max_size=min(4 * average, LARGEST_CHUNK)).cut_buf
    return FASTCDC, lambda view: (chunk.length for chunk in cut(view))


def fixed_cuts(size: int, length: int) -> Iterator[int]:
    """The lengths of the chunks of ``size`` bytes, all but the last ``length`` long."""
    for at in range(0, size, length):
        yield min(length, size - at)


def array_average(size: int) -> int:
    """The average size of the chunks of an array of ``size`` bytes."""
    return next((average for limit, average in ARRAY_AVERAGES if size <= limit), ARRAY_CHUNK)


def cuts(view: memoryview, offset: int, item: int, *, last: bool, average: int = 0) -> tuple[int, list[int]]:
    """Where to cut some bytes that stand at ``offset`` of a blob: the chunker, and where each chunk ends.
    ``average``: the size of chunks, if it does not follow from the offset.

    Cuts are rounded down to the ``item`` size in bytes, so that a chunk of numbers holds whole numbers.
    Unless these are the ``last`` bytes of the blob, what follows the last cut is the caller's to hand in
    again: only the bytes behind can tell where it ends.
    """
    chunker, cut = cutter(average or average_at(offset))
    ends: list[int] = []
    at = 0
    for length in cut(view):
        at += length
        end = at - (offset + at) % item
        if end > (ends[-1] if ends else 0):
            ends.append(end)
    if last and (not ends or ends[-1] < len(view)):
        ends.append(len(view))  # also where the whole is no multiple of the item size
    elif not last and at == len(view) and len(ends) > 1:
        ends.pop()
    return chunker, ends
