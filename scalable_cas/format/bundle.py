"""Bundles: results and their objects in one file (docs/reference/bundle-v1.md). Here the bytes around the
parts: head, table, end. A bundle may come from an enemy: what it claims is checked against its length first.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple
from zlib import crc32

from blake3 import blake3

from scalable_cas.errors import MalformedObject
from scalable_cas.format import segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

CONTEXT = "scalable_cas 2026-11 bundle v1"
#: What stands in the place of a remote's id in the segments of bundles.
REMOTE_ID: bytes = blake3(b"", derive_key_context=CONTEXT).digest()[:16]
PACK, OBJECT, SEGMENT = 1, 2, 3
TYPE_NAMES = {PACK: "pack", OBJECT: "object", SEGMENT: "segment"}
HEAD_BYTES = END_BYTES = 64
MOST_PARTS = 1 << 20
#: A pack is read whole: four times what writers make.
LARGEST_PACK = 128 << 20
_HEAD = Struct("<8sI48x")
_ROW = Struct("<B7sQQ32s")
ROW_BYTES = _ROW.size
_END = Struct("<8sQQ32s4s")
_CRC = Struct("<I")
_MAGIC, _END_MAGIC = b"SCASBDL1", b"SCASBDLE"


def _sealed(fields: bytes) -> bytes:
    return fields + _CRC.pack(crc32(fields))


HEAD = _sealed(_HEAD.pack(_MAGIC, 0))


class Part(NamedTuple):
    """One part: a type of this module, where it starts, its length in bytes, its name (32 bytes)."""

    type: int
    offset: int
    length: int
    name: bytes


def hasher() -> blake3:
    """A running digest of a bundle: of all bytes before its end."""
    return blake3(derive_key_context=CONTEXT)


def pack_table(parts: Iterable[Part]) -> bytes:
    """The table of parts, in the order of the file."""
    return b"".join(_ROW.pack(part.type, b"", part.offset, part.length, part.name) for part in parts)


def pack_end(count: int, start: int, digest: bytes) -> bytes:
    """The last 64 bytes: number of parts, offset of the table, digest of all bytes before."""
    return _sealed(_END.pack(_END_MAGIC, count, start, digest, b""))


def check_head(head: bytes) -> None:
    """Check the first 64 bytes.

    Raises:
        MalformedObject: they are not those of a bundle that this program can read.
    """
    if head[:HEAD_BYTES] != HEAD:
        known = head[:8] == _MAGIC and len(head) >= HEAD_BYTES and _sealed(head[:60]) == head[:64]
        reason = "it is of a version that is not known here" if known else "it does not start as one"
        raise MalformedObject("bundle", reason)


def unpack_end(end: bytes, size: int) -> tuple[int, int, bytes]:
    """Number of parts, offset of the table, and digest, from the last 64 bytes of ``size``.

    Raises:
        MalformedObject: they are not the end of a bundle of that size.
    """
    if len(end) != END_BYTES or _sealed(end[:60]) != end or end[:8] != _END_MAGIC:
        raise MalformedObject("bundle", "it does not end as one: it is cut short, or something follows")
    _, count, start, digest, zero = _END.unpack_from(end)
    whole = count <= MOST_PARTS and start >= HEAD_BYTES and start + count * ROW_BYTES + END_BYTES == size
    if not whole or any(zero):
        raise MalformedObject("bundle", "its end does not fit its length")
    return count, start, digest


def unpack_table(raw: bytes, start: int) -> list[Part]:
    """The parts of a bundle whose table starts at ``start``.

    Raises:
        MalformedObject: a part of a type that is not known here, or too large; or they do not fill the file,
            or a segment stands before another part.
    """
    parts = []
    at, last = HEAD_BYTES, 0
    for type_, zero, offset, length, name in _ROW.iter_unpack(raw):
        if type_ not in TYPE_NAMES or any(zero):
            raise MalformedObject("bundle", f"a part of type {type_} is not known here")
        if offset != at or length > start - at or (last == SEGMENT and type_ != SEGMENT):
            raise MalformedObject("bundle", "its parts are not in order")
        largest = {PACK: LARGEST_PACK, SEGMENT: segment.LARGEST}.get(type_, length)
        if length > largest:
            raise MalformedObject("bundle", f"a {TYPE_NAMES[type_]} of {length} bytes is too large")
        parts.append(Part(type_, offset, length, name))
        at, last = at + length, type_
    if at != start:
        raise MalformedObject("bundle", "its parts do not fill it")
    return parts
