"""The encoded object: a 64-byte header and a payload (format-v1, section 2).

The header is a legal zstd skippable frame, so ``zstd -dc FILE`` decodes a compressed loose object, and the
payload starts at byte 64, which aligns raw arrays for memory maps.
"""

from __future__ import annotations

from struct import Struct
from zlib import crc32

from scalable_cas.errors import MalformedObject
from scalable_cas.format.compression import LEVEL, compress_as, decompress, decompress_stream, plan
from scalable_cas.format.kinds import BLOB, KIND_NAMES
from scalable_cas.format.shuffle import ITEMS, unshuffle_into

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    Content = bytes | bytearray | memoryview

HEADER_BYTES = 64
NAME = slice(28, 60)  # where the name stands in a header
CODING = slice(12, 13)
PIECE = 1 << 20  # bytes: as fast as any larger piece, and stays in the cache
RAW = 0
ZSTD = 1
ZSTD_DICT = 2  # reserved for packs
CHUNKED = 3  # the payload is a list of blobs that make up this one: format/chunking.py
NO_FILTER = 0
# of the flag byte: an unknown bit here refuses the object; the low nibble may be ignored
MUST_UNDERSTAND = 0xF0

FRAME = b"\x50\x2a\x4d\x18" + (HEADER_BYTES - 8).to_bytes(4, "little")
MAGIC = b"SC"
_VERSION = 1
# after the frame: magic, version, kind, coding, filter, flags, reserved, raw size (u48), stored size (u48),
# digest, CRC-32
_FIXED = Struct("<2sBBBBBB6s6s32s")
#: Bytes of content, at most.
LARGEST = (1 << 48) - 1


class Header:
    """What the 64 bytes say. Sizes in bytes; ``oid`` is the 32-byte name."""

    __slots__ = ("coding", "filter", "kind", "oid", "raw_size", "stored_size")

    def __init__(
        self, kind: int, coding: int, filter_: int, raw_size: int, stored_size: int, oid: bytes
    ) -> None:
        self.kind = kind
        self.coding = coding
        self.filter = filter_
        self.raw_size = raw_size
        self.stored_size = stored_size
        self.oid = oid

    def pack(self) -> bytes:
        """The 64 bytes."""
        body = _FIXED.pack(
            MAGIC,
            _VERSION,
            self.kind,
            self.coding,
            self.filter,
            0,
            0,
            self.raw_size.to_bytes(6, "little"),
            self.stored_size.to_bytes(6, "little"),
            self.oid,
        )
        return FRAME + body + crc32(body).to_bytes(4, "little")


def unpack(data: bytes | memoryview) -> Header:
    """Read a header.

    Raises:
        MalformedObject: too short, not ours, damaged, or a version, kind, coding, filter or flag that this
            program does not know.
    """
    head = bytes(data[:HEADER_BYTES])
    if len(head) < HEADER_BYTES or head[:8] != FRAME:
        raise MalformedObject("object header", "not an object of this store")
    body = head[8:60]
    if crc32(body) != int.from_bytes(head[60:], "little"):
        raise MalformedObject("object header", "its checksum does not match")
    magic, version, kind, coding, filter_, flags, _, raw, stored, oid = _FIXED.unpack(body)
    if magic != MAGIC or version != _VERSION:
        raise MalformedObject("object header", f"version {version} is not known here")
    if kind not in KIND_NAMES:
        raise MalformedObject("object header", f"kind {kind} is not known here")
    known = coding in (RAW, ZSTD) or (coding == CHUNKED and kind == BLOB)
    if filter_ != NO_FILTER:
        known = coding == ZSTD and filter_ in ITEMS
    if not known or flags & MUST_UNDERSTAND:
        raise MalformedObject(
            "object header", f"coding {coding}, filter {filter_}, flags {flags:#x} are not known here"
        )
    return Header(kind, coding, filter_, int.from_bytes(raw, "little"), int.from_bytes(stored, "little"), oid)


def encode(kind: int, oid: bytes, content: Content, item: int = 1) -> tuple[Header, Content]:
    """Return the header and the payload under which ``content`` is stored: one zstd frame where that gains,
    else the content itself. ``item``: the size in bytes of the numbers that it is made of.

    Raises:
        MalformedObject: more than 2**48 - 1 bytes.
    """
    return encode_as(kind, oid, content, plan(content, item))


def encode_as(
    kind: int, oid: bytes, content: Content, filter_: int | None, level: int = LEVEL
) -> tuple[Header, Content]:
    """The same for content whose way is known: a filter, or None for raw; raw too where it gains nothing.

    Raises:
        MalformedObject: as `encode`.
    """
    if len(content) > LARGEST:
        raise MalformedObject("object", f"{len(content)} bytes are more than the format can hold")
    packed = compress_as(content, filter_, level) if filter_ is not None else None
    if packed is None or filter_ is None:
        return Header(kind, RAW, NO_FILTER, len(content), len(content), oid), content
    return Header(kind, ZSTD, filter_, len(content), len(packed), oid), packed


def check_sizes(header: Header, length: int) -> None:
    """Compare a header with the ``length`` of the payload that stands behind it.

    Raises:
        MalformedObject: they do not fit.
    """
    if length != header.stored_size:
        raise MalformedObject(
            "object", f"{length} bytes are stored where the header says {header.stored_size}"
        )
    if header.coding == RAW and header.raw_size != header.stored_size:
        raise MalformedObject("object header", "a raw object with two sizes")


def decode(header: Header, payload: bytes | memoryview) -> bytes | memoryview:
    """Return the content behind ``payload``. The digest is the caller's to check.

    Raises:
        MalformedObject: the payload's length or frame does not fit the header, or it is a list of chunks.
    """
    check_sizes(header, len(payload))
    if header.coding == RAW:
        return payload
    if header.coding != ZSTD:
        raise MalformedObject("object", "it is stored in chunks")
    content = decompress(payload, header.raw_size)
    if not header.filter:
        return content
    whole = memoryview(bytearray(header.raw_size))
    unshuffle_into(content, header.filter, whole)
    return whole


def decode_into(header: Header, payload: bytes | memoryview, target: memoryview) -> None:
    """`decode` into ``target``, which is as long as the content.

    Raises:
        MalformedObject: as `decode`.
    """
    check_sizes(header, len(payload))
    if len(target) != header.raw_size:
        raise MalformedObject("object", f"{header.raw_size} bytes where {len(target)} are expected")
    if header.coding == RAW:
        target[:] = payload
    elif header.coding == ZSTD and header.filter:
        unshuffle_into(decompress(payload, header.raw_size), header.filter, target)
    elif header.coding == ZSTD:
        target[:] = decompress(payload, header.raw_size)
    else:
        raise MalformedObject("object", "it is stored in chunks")


def decode_stream(header: Header, file: BinaryIO) -> Iterator[memoryview]:
    """Yield the content behind the payload that ``file`` is positioned at, in pieces of up to a megabyte.
    Each piece is only good until the next is asked for.

    Raises:
        MalformedObject: the payload's frame does not fit the header.
    """
    if header.coding == RAW:
        if header.raw_size != header.stored_size:
            raise MalformedObject("object header", "a raw object with two sizes")
        buffer = memoryview(bytearray(min(PIECE, max(header.raw_size, 1))))
        while count := file.readinto(buffer):  # type: ignore[attr-defined]
            yield buffer[:count]
        return
    if header.coding != ZSTD:
        raise MalformedObject("object", "it is stored in chunks")
    if header.filter:  # nothing of it is known before all is there
        yield memoryview(decode(header, file.read(header.stored_size + 1)))
        return
    yield from decompress_stream(file, header.raw_size)
