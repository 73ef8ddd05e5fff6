"""Joined segments: many segments of a remote in one file, byte for byte as they were signed
(remote-layout-v1, section 5).

A 64-byte head, a table of what is in it, and the segments. The table comes first, so that a reader learns
from the start of the file which of them it lacks, and reads only those.
"""

from __future__ import annotations

from struct import Struct
from zlib import crc32

from scalable_cas.errors import MalformedObject

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

HEAD_BYTES = 64
_HEAD = Struct(
    "<8sIIQI32xI"
)  # magic, features, count, bytes of the segments, CRC-32 of the table; then that of this
_MAGIC = b"SCASJOI1"
#: A row of the table: the segment's number, where it starts, its length.
_ROW = Struct("<16sQQ")
ROW_BYTES = _ROW.size
#: A table of 3.2 MB; whoever joins more leaves a file alone long before.
MOST_SEGMENTS = 100_000


class Part:
    """One segment in the file: its ``number`` (16 bytes), ``offset`` and ``length``."""

    __slots__ = ("length", "number", "offset")

    def __init__(self, number: bytes, offset: int, length: int) -> None:
        self.number = number
        self.offset = offset
        self.length = length


def pack(segments: Mapping[bytes, bytes]) -> bytes:
    """The file with these segments, by number: the same ones are the same bytes, in whatever order they come.

    Raises:
        ValueError: more than `MOST_SEGMENTS`.
    """
    if len(segments) > MOST_SEGMENTS:
        raise ValueError(f"{len(segments)} segments are more than one file may hold")
    ordered = sorted(segments.items())
    at = HEAD_BYTES + ROW_BYTES * len(ordered)
    table = []
    for number, data in ordered:
        table.append(_ROW.pack(number, at, len(data)))
        at += len(data)
    rows = b"".join(table)
    size = at - HEAD_BYTES - len(rows)
    head = _HEAD.pack(_MAGIC, 0, len(ordered), size, crc32(rows), 0)[:-4]
    return b"".join((head, crc32(head).to_bytes(4, "little"), rows, *(data for _, data in ordered)))


def table_bytes(head: bytes, size: int) -> int:
    """How many bytes of table follow the first 64 of a file of ``size`` bytes.

    Raises:
        MalformedObject: they are not the head of such a file, or of one of another size.
    """
    if len(head) < HEAD_BYTES or head[:8] != _MAGIC:
        raise MalformedObject("joined segments", "it does not start as such")
    _, features, count, length, _, crc = _HEAD.unpack_from(head)
    if crc != crc32(head[: HEAD_BYTES - 4]):
        raise MalformedObject("joined segments", "the checksum of its head does not match")
    if features or count > MOST_SEGMENTS:
        raise MalformedObject("joined segments", "it is of a version that is not known here")
    if HEAD_BYTES + count * ROW_BYTES + length != size:
        raise MalformedObject("joined segments", "its length is not the one that its head says")
    return int(count * ROW_BYTES)


def unpack_table(start: bytes, size: int) -> tuple[Part, ...]:
    """What is in a file of ``size`` bytes that starts with ``start``, head and table at least.

    Raises:
        MalformedObject: head or table are damaged.
    """
    length = table_bytes(start, size)
    rows = start[HEAD_BYTES : HEAD_BYTES + length]
    if len(rows) != length or crc32(rows) != _HEAD.unpack_from(start)[4]:
        raise MalformedObject("joined segments", "the checksum of its table does not match")
    found = []
    at, before = HEAD_BYTES + length, b""
    for number, offset, span in _ROW.iter_unpack(rows):
        if number <= before or offset != at:
            raise MalformedObject("joined segments", "its table is not in order")
        found.append(Part(number, offset, span))
        at, before = at + span, number
    if at != size:
        raise MalformedObject("joined segments", "its table does not fill it")
    return tuple(found)
