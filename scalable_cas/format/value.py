"""The value object: which codec wrote it, its head, and the buffers that are objects of their own (format-v1,
section 4).
"""

from __future__ import annotations

from struct import Struct

from scalable_cas.errors import MalformedObject
from scalable_cas.format.kinds import BLOB, LIST, TREE

VERSION = 1
_COUNT = Struct("<I")
_BUFFER = Struct("<BB6xQ32s")  # kind, flags, 6 zero bytes, size in bytes, name
#: A head with more buffers than this is refused before memory is taken for them.
MOST_BUFFERS = 1 << 24

#: What the content of a plain value without buffers starts with: the hit path compares it and decodes the
#: rest.
PLAIN_PREFIX = b"\x01\x05plain\x00\x00\x00\x00"


#: Bytes from which `measure` can tell how long the table of buffers is: the longest codec's name, and six.
START_BYTES = 6 + 255


class BufferRef:
    """One out-of-band buffer: an object of ``kind`` (blob, list, or tree for a folder) named ``oid`` with
    ``size`` bytes.
    """

    __slots__ = ("kind", "oid", "size")

    def __init__(self, kind: int, oid: bytes, size: int) -> None:
        self.kind = kind
        self.oid = oid
        self.size = size


class ValueObject:
    """A parsed value object. ``head`` is a view into the content."""

    __slots__ = ("buffers", "codec", "head")

    def __init__(self, codec: str, head: bytes | memoryview, buffers: tuple[BufferRef, ...]) -> None:
        self.codec = codec
        self.head = head
        self.buffers = buffers


def pack(codec: str, head: bytes | memoryview, buffers: tuple[BufferRef, ...] = ()) -> bytes:
    """The content of a value object."""
    if codec == "plain" and not buffers:
        return PLAIN_PREFIX + head
    name = codec.encode("ascii")
    parts = [bytes((VERSION, len(name))), name, _COUNT.pack(len(buffers))]
    parts.extend(_BUFFER.pack(item.kind, 0, item.size, item.oid) for item in buffers)
    parts.append(bytes(head))
    return b"".join(parts)


def measure(start: bytes | bytearray) -> int:
    """How many bytes of a value's content tell all its buffers; from its first `START_BYTES` or all of it.

    Raises:
        MalformedObject: not the start of such content.
    """
    if len(start) < 6 or start[0] != VERSION or len(start) < 6 + start[1]:
        raise MalformedObject("value", "its version is not known here, or it ends inside its own head")
    count: int = _COUNT.unpack_from(start, 2 + start[1])[0]
    return 6 + start[1] + count * _BUFFER.size


def unpack(content: bytes | memoryview) -> ValueObject:
    """Parse the content of a value object.

    Raises:
        MalformedObject: not such content.
    """
    view = memoryview(content)
    if len(view) < 6 or view[0] != VERSION:
        raise MalformedObject("value", "its version is not known here")
    at = 2 + view[1]
    if len(view) < at + 4:
        raise MalformedObject("value", "it ends inside its own head")
    try:
        codec = str(view[2:at], "ascii")
    except UnicodeDecodeError as error:
        raise MalformedObject("value", "its codec has no ASCII name") from error
    (count,) = _COUNT.unpack_from(view, at)
    at += 4
    end = at + count * _BUFFER.size
    if count > MOST_BUFFERS or end > len(view):
        raise MalformedObject("value", f"it claims {count} buffers")
    buffers = tuple(BufferRef(kind, oid, size) for kind, _, size, oid in _BUFFER.iter_unpack(view[at:end]))
    if any(item.kind not in (BLOB, LIST, TREE) for item in buffers):
        raise MalformedObject("value", "a buffer that is neither blob, list nor tree")
    return ValueObject(codec, view[end:], buffers)
