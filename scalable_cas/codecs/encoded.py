"""What a codec makes of a value."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    Buffer = bytes | bytearray | memoryview

#: Bytes from which a buffer leaves the head and becomes an object of its own. Below it the fixed cost of an
#: object (a hash, a header, an index row) outweighs what deduplication could save, and the head is copied in
#: microseconds.
OUT_OF_BAND = 64 * 1024


class Encoded:
    """One encoded value.

    `codec` names who can decode it, `head` is its bytes, and `buffers` are its large parts, which the head
    refers to by position. A buffer may be a view of the live value's own memory: write it out before the
    value can change.
    """

    __slots__ = ("buffers", "codec", "head")

    def __init__(self, codec: str, head: bytes, buffers: tuple[Buffer, ...] = ()) -> None:
        self.codec = codec
        self.head = head
        self.buffers = buffers

    def __repr__(self) -> str:
        return f"Encoded({self.codec!r}, {len(self.head)} bytes, {len(self.buffers)} buffers)"
