"""Packs: many small objects in one immutable file (format-v1, section 8).

A 64-byte head, the objects one after the other exactly as their loose files would be, a table of names, and a
64-byte end. Each object carries its own header, so where the table is damaged the objects are found by
looking for headers. Nothing in a pack depends on the machine, the user or the time: the same objects in the
same order are the same bytes.
"""

from __future__ import annotations

from struct import Struct
from zlib import crc32

from scalable_cas.errors import MalformedObject
from scalable_cas.format import header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PACK_SUFFIX = ".pack"
HEAD_BYTES = END_BYTES = 64
_HEAD = Struct("<8sI48x")  # magic, features that a reader must know; then the CRC-32 of both
_END = Struct("<8sQQI32x")  # magic, number of objects, where the table starts, its CRC-32; then that of this
_CRC = Struct("<I")
_MAGIC, _END_MAGIC = b"SCASPCK1", b"SCASPCKE"
#: A row of the table: name, offset, length, CRC-32 of the object's bytes as they stand in the pack.
_ROW = Struct("<32sQQI")
ROW_BYTES = _ROW.size
#: What a pack takes beside its objects and their rows.
FRAME_BYTES = HEAD_BYTES + END_BYTES
#: How every object starts: where a scan looks for the next one.
_START = header.FRAME + header.MAGIC


def _sealed(fields: bytes) -> bytes:
    return fields + _CRC.pack(crc32(fields))


_FIRST = _sealed(_HEAD.pack(_MAGIC, 0))


class Member:
    """One object in a pack: its name, where it starts, its length, and the CRC-32 of its bytes there."""

    __slots__ = ("crc", "length", "offset", "oid")

    def __init__(self, oid: bytes, offset: int, length: int, crc: int) -> None:
        self.oid = oid
        self.offset = offset
        self.length = length
        self.crc = crc


class Table:
    """The table of a pack, sorted by name. ``raw``: its rows as bytes, which is how it is kept in memory.
    ``reason``: why it had to be made anew from the objects, "" where it was read.
    """

    __slots__ = ("raw", "reason")

    def __init__(self, raw: bytes, reason: str = "") -> None:
        self.raw = raw
        self.reason = reason

    def __len__(self) -> int:
        return len(self.raw) // ROW_BYTES

    def __iter__(self) -> Iterator[Member]:
        for row in _ROW.iter_unpack(self.raw):
            yield Member(*row)

    def find(self, oid: bytes) -> Member | None:
        """The object of that name, or None."""
        at = self._first(oid)
        found = Member(*_ROW.unpack_from(self.raw, at * ROW_BYTES)) if at < len(self) else None
        return found if found is not None and found.oid == oid else None

    def names(self, first: bytes, last: bytes) -> Iterator[bytes]:
        """The names from ``first`` to ``last``, both included, in order."""
        for at in range(self._first(first), len(self)):
            name = self.raw[at * ROW_BYTES : at * ROW_BYTES + 32]
            if name > last:
                return
            yield name

    def _first(self, oid: bytes) -> int:
        """The number of the first row whose name is not less."""
        low, high, raw = 0, len(self), self.raw
        while low < high:
            middle = (low + high) // 2
            if raw[middle * ROW_BYTES : middle * ROW_BYTES + 32] < oid:
                low = middle + 1
            else:
                high = middle
        return low


def begin() -> bytes:
    """The first bytes of every pack."""
    return _FIRST


def finish(members: Sequence[Member], at: int) -> bytes:
    """What follows the objects, the last of which ends ``at``: the table and the end."""
    rows = b"".join(sorted(_ROW.pack(item.oid, item.offset, item.length, item.crc) for item in members))
    return rows + _sealed(_END.pack(_END_MAGIC, len(members), at, crc32(rows)))


def assemble(
    objects: Sequence[tuple[bytes, bytes | memoryview]], crcs: Sequence[int] | None = None
) -> tuple[bytes, dict[bytes, tuple[int, int]]]:
    """The bytes of a pack with these (name, encoded object), each name once, and each one's offset and
    length. ``crcs``: the CRC-32 of each, if they are known.
    """
    at = HEAD_BYTES
    members = []
    for (oid, data), crc in zip(objects, crcs or (crc32(data) for _, data in objects), strict=True):
        members.append(Member(oid, at, len(data), crc))
        at += len(data)
    content = b"".join((_FIRST, *(data for _, data in objects), finish(members, at)))
    return content, {item.oid: (item.offset, item.length) for item in members}


def end_of(size: int, end: bytes) -> tuple[int, int, int]:
    """From the last 64 bytes of a pack of ``size`` bytes: where the table starts, its length and its CRC-32.

    Raises:
        MalformedObject: they are not the end of a pack of that size.
    """
    if len(end) != END_BYTES or crc32(end[:-4]) != _CRC.unpack_from(end, END_BYTES - 4)[0]:
        raise MalformedObject("pack", "its end is damaged or missing")
    magic, count, start, crc = _END.unpack_from(end)
    if magic != _END_MAGIC or start < HEAD_BYTES or start + count * ROW_BYTES + END_BYTES != size:
        raise MalformedObject("pack", "its end does not fit its length")
    return start, count * ROW_BYTES, crc


def table_of(raw: bytes, start: int, crc: int) -> Table:
    """The table that starts at ``start``, checked.

    Raises:
        MalformedObject: it is damaged, not in order, or points outside the objects.
    """
    if crc32(raw) != crc:
        raise MalformedObject("pack", "the checksum of its table does not match")
    before = b""
    for oid, offset, length, _ in _ROW.iter_unpack(raw):
        if oid <= before or offset < HEAD_BYTES or length < header.HEADER_BYTES or offset + length > start:
            raise MalformedObject("pack", "its table is not in order")
        before = oid
    return Table(raw)


def check_head(head: bytes) -> None:
    """Check the first 64 bytes of a pack.

    Raises:
        MalformedObject: they are damaged, or name a feature that this program does not know.
    """
    if head[:HEAD_BYTES] == _FIRST:
        return
    if len(head) < HEAD_BYTES or crc32(head[: HEAD_BYTES - 4]) != _CRC.unpack_from(head, HEAD_BYTES - 4)[0]:
        raise MalformedObject("pack", "its head is damaged")
    raise MalformedObject("pack", "it is of a version that is not known here")


def read_table(data: bytes | memoryview) -> Table:
    """The table of a whole pack; where it cannot be read, one made from the objects that are found, with the
    reason.
    """
    try:
        check_head(bytes(data[:HEAD_BYTES]))
        start, length, crc = end_of(len(data), bytes(data[-END_BYTES:]))
        return table_of(bytes(data[start : start + length]), start, crc)
    except MalformedObject as error:
        return scan(bytes(data), error.reason)


def scan(data: bytes, reason: str) -> Table:
    """A table of the objects whose headers are found in ``data``: damage costs the objects that it hits."""
    found: dict[bytes, bytes] = {}
    at = 0
    while (at := data.find(_START, at)) >= 0:
        try:
            head = header.unpack(data[at : at + header.HEADER_BYTES])
        except MalformedObject:
            at += 1
            continue
        end = at + header.HEADER_BYTES + head.stored_size
        if end > len(data):
            at += 1
            continue
        found.setdefault(head.oid, _ROW.pack(head.oid, at, end - at, crc32(data[at:end])))
        at = end
    return Table(b"".join(found[oid] for oid in sorted(found)), reason)
