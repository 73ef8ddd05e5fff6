"""Long contents piece by piece: the encoding that their joined bytes would have, without joining them.

A column of a frame is seldom one buffer of canonical bytes: it lies in chunks, has garbage under its missing
values, or is a list of texts. Making it one buffer would double the memory that the frame takes.
"""

from __future__ import annotations

from array import array

from .digest import hasher
from .nodes import Refused
from .tags import B_TAG, INLINE, pack_length

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from blake3 import blake3

    Buffer = bytes | bytearray | memoryview

# Rows that are made canonical at a time. Smaller blocks pay for the calls (a million texts take three times
# as long with 4 Ki), larger ones gain little (a sixth with 256 Ki) and need more memory.
ROWS = 1 << 16
_U32 = "I" if array("I").itemsize == 4 else "L"
_ONLY_STR = {str}


class Stream:
    """Bytes that come in pieces. ``expected``: about how many, so that long ones get more than one thread."""

    __slots__ = ("expected", "head", "running", "size")

    def __init__(self, expected: int = 0) -> None:
        self.size = 0
        self.head = b""
        self.expected = expected
        self.running: blake3 | None = None

    def write(self, data: Buffer) -> None:
        """Add a contiguous buffer."""
        self.size += data.nbytes if isinstance(data, memoryview) else len(data)
        if self.running is not None:
            self.running.update(data)
        elif self.size <= INLINE:
            self.head += data
        else:
            self.running = hasher(self.expected)
            self.running.update(self.head)
            self.running.update(data)

    def encoded(self) -> bytes:
        """What ``encode_bytes`` gives for all that was written."""
        if self.running is None:
            return pack_length(B_TAG, self.size) + self.head
        return pack_length(ord("B"), self.size) + self.running.digest()


def encode_pieces(pieces: Iterable[Buffer], expected: int = 0) -> bytes:
    """What ``encode_bytes`` gives for the joined pieces."""
    stream = Stream(expected)
    for piece in pieces:
        stream.write(piece)
    return stream.encoded()


def encode_texts(
    count: int, rows: Callable[[int, int], Sequence[object]], missing: Callable[[object], bool]
) -> tuple[bytes | None, bytes, bytes]:
    """Missing ones (None if there are none), lengths and joined UTF-8 of ``count`` texts, each encoded as
    bytes.

    ``rows(start, stop)`` gives some of them; what is no str must be ``missing``.

    Raises:
        Refused: an item is neither a str nor missing, or is as long as 4 GiB.
    """
    gaps, lengths, data = Stream(), Stream(4 * count), Stream(8 * count)
    some_missing = False
    for start in range(0, count, ROWS):
        block = rows(start, min(start + ROWS, count))
        absent = bytes(len(block))
        if {*map(type, block)} != _ONLY_STR:
            absent = bytes([type(item) is not str for item in block])
            for item in block:
                if type(item) is not str and not missing(item):
                    raise Refused("an array of texts that holds what is no plain str")
            block = ["" if gap else item for gap, item in zip(absent, block, strict=True)]
        some_missing = some_missing or 1 in absent
        gaps.write(absent)
        sizes, texts = _joined(block)
        lengths.write(sizes)
        data.write(texts)
    return gaps.encoded() if some_missing else None, lengths.encoded(), data.encoded()


def _joined(block: Sequence[object]) -> tuple[bytes, bytes]:
    """Lengths (u32, little-endian) and UTF-8 of texts. Joining them first is seven times as fast as encoding
    each.
    """
    joined = "".join(block)  # type: ignore[arg-type]
    if joined.isascii():
        return sizes_of(map(len, block)), joined.encode()  # type: ignore[arg-type]
    encoded = [text.encode("utf-8", "surrogatepass") for text in block]  # type: ignore[attr-defined]
    return sizes_of(map(len, encoded)), b"".join(encoded)


def sizes_of(lengths: Iterable[int]) -> bytes:
    """Lengths as u32, little-endian.

    Raises:
        Refused: one is 4 GiB or more.
    """
    from sys import byteorder

    try:
        packed = array(_U32, lengths)
    except OverflowError as error:
        raise Refused("a text of 4 GiB or more") from error
    if byteorder == "big":
        packed.byteswap()
    return packed.tobytes()
