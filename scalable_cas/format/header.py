"""The encoded object: a 64-byte header and a payload (format-v1, section 2).

The header is a legal zstd skippable frame, so ``zstd -dc FILE`` decodes a compressed loose object, and the
payload starts at byte 64, which aligns raw arrays for memory maps.
"""

from __future__ import annotations

from struct import Struct
from zlib import crc32

from scalable_cas.errors import MalformedObject
from scalable_cas.format.compression import compress, decompress, decompress_stream
from scalable_cas.format.kinds import KIND_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

HEADER_BYTES = 64
PIECE = 1 << 20  # bytes: as fast as any larger piece, and stays in the cache
RAW = 0
ZSTD = 1
ZSTD_DICT = 2  # reserved for packs
NO_FILTER = 0
# of the flag byte: an unknown bit here refuses the object; the low nibble may be ignored
MUST_UNDERSTAND = 0xF0

FRAME = b"\x50\x2a\x4d\x18" + (HEADER_BYTES - 8).to_bytes(4, "little")
MAGIC = b"SC"
_VERSION = 1
# after the frame: magic, version, kind, coding, filter, flags, reserved, raw size (u48), stored size (u48),
# digest, CRC-32
_FIXED = Struct("<2sBBBBBB6s6s32s")
_LARGEST = (1 << 48) - 1


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
    if coding not in (RAW, ZSTD) or filter_ != NO_FILTER or flags & MUST_UNDERSTAND:
        raise MalformedObject(
            "object header", f"coding {coding}, filter {filter_}, flags {flags:#x} are not known here"
        )
    return Header(kind, coding, filter_, int.from_bytes(raw, "little"), int.from_bytes(stored, "little"), oid)


def encode(
    kind: int, oid: bytes, content: bytes | bytearray | memoryview
) -> tuple[Header, bytes | bytearray | memoryview]:
    """Return the header and the payload under which ``content`` is stored: one zstd frame where that gains,
    else the content itself.

    Raises:
        MalformedObject: more than 2**48 - 1 bytes.
    """
    if len(content) > _LARGEST:
        raise MalformedObject("object", f"{len(content)} bytes are more than the format can hold")
    packed = compress(content)
    payload = content if packed is None else packed
    coding = RAW if packed is None else ZSTD
    return Header(kind, coding, NO_FILTER, len(content), len(payload), oid), payload


def decode(header: Header, payload: bytes | memoryview) -> bytes | memoryview:
    """Return the content behind ``payload``. The digest is the caller's to check.

    Raises:
        MalformedObject: the payload's length or frame does not fit the header.
    """
    if len(payload) != header.stored_size:
        raise MalformedObject(
            "object", f"{len(payload)} bytes are stored where the header says {header.stored_size}"
        )
    if header.coding == RAW:
        if header.raw_size != header.stored_size:
            raise MalformedObject("object header", "a raw object with two sizes")
        return payload
    return decompress(payload, header.raw_size)


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
    yield from decompress_stream(file, header.raw_size)
