"""Journal segments: ref records and tombstones in the order in which they were published (format-v1, section
6).

A segment is a 64-byte head and frames. Each frame carries a marker, its length, a keyed tag and a CRC, so
that a torn or damaged frame costs that frame: a reader looks for the next marker whose CRC holds. The CRC
tells damage; the tag tells whether this user wrote the frame (DESIGN 9), and is checked where it matters.
"""

from __future__ import annotations

from struct import Struct
from zlib import crc32

from blake3 import blake3

from scalable_cas.errors import MalformedObject
from scalable_cas.format.record import LONGEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SEGMENT_MAGIC = b"SCASJRN1"
SEGMENT_BYTES = 64
TAG_BYTES = 16
_SEGMENT = Struct("<8s16s16sQ12xI")  # magic, store id, segment id, created (ns), CRC-32 of all before
_MARK = b"\xa5SJ\x01"
_HEAD = Struct("<4sI")  # marker, length of the body
_CRC = Struct("<I")
_OVERHEAD = _HEAD.size + TAG_BYTES + _CRC.size


def pack_segment_head(store_id: bytes, segment_id: bytes, created: int) -> bytes:
    """The 64 bytes that start a segment. Ids of 16 bytes, time in nanoseconds."""
    head = _SEGMENT.pack(SEGMENT_MAGIC, store_id, segment_id, created, 0)[:-4]
    return head + _CRC.pack(crc32(head))


def unpack_segment_head(data: bytes) -> tuple[bytes, bytes, int]:
    """Return (store id, segment id, created).

    Raises:
        MalformedObject: not the head of a segment.
    """
    if len(data) < SEGMENT_BYTES or data[:8] != SEGMENT_MAGIC:
        raise MalformedObject("journal segment", "it does not start as one")
    _, store_id, segment_id, created, crc = _SEGMENT.unpack_from(data)
    if crc != crc32(data[: SEGMENT_BYTES - 4]):
        raise MalformedObject("journal segment", "the checksum of its head does not match")
    return store_id, segment_id, created


def frame_tag(body: bytes | memoryview, secret: bytes) -> bytes:
    """The 16-byte tag of a frame under the user's key (32 bytes)."""
    digest: bytes = blake3(body, key=secret).digest(TAG_BYTES)
    return digest


def pack_frame(body: bytes, secret: bytes) -> bytes:
    """One frame around ``body`` (a packed record)."""
    frame = b"".join((_HEAD.pack(_MARK, len(body)), frame_tag(body, secret), body))
    return frame + _CRC.pack(crc32(frame))


class Frame:
    """One frame that was read: where it starts, its body, its tag. ``skipped`` counts the bytes before it
    that were no frame.
    """

    __slots__ = ("body", "offset", "skipped", "tag")

    def __init__(self, offset: int, body: bytes, tag: bytes, skipped: int) -> None:
        self.offset = offset
        self.body = body
        self.tag = tag
        self.skipped = skipped


def frames(data: bytes | memoryview, start: int = SEGMENT_BYTES) -> Iterator[Frame | int]:
    """Yield every whole frame of a segment, and last the number of bytes after it that are no frame."""
    view = bytes(data)
    at = resume = start
    while (found := view.find(_MARK, at)) >= 0:
        frame = _frame_at(view, found)
        if frame is None:
            at = found + 1
            continue
        body, tag, end = frame
        yield Frame(found, body, tag, found - resume)
        at = resume = end
    yield len(view) - resume


def _frame_at(view: bytes, at: int) -> tuple[bytes, bytes, int] | None:
    if at + _OVERHEAD > len(view):
        return None
    _, length = _HEAD.unpack_from(view, at)
    end = at + _OVERHEAD + length
    if length > LONGEST or end > len(view):
        return None
    (crc,) = _CRC.unpack_from(view, end - 4)
    if crc != crc32(view[at : end - 4]):
        return None
    tag_at = at + _HEAD.size
    return view[tag_at + TAG_BYTES : end - 4], view[tag_at : tag_at + TAG_BYTES], end
