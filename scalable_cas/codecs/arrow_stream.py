"""What must be known of an Arrow IPC stream before a library reads it.

Arrow's own reader checks lengths and places against the stream, and `validate(full=True)` checks what they
point at. Two things it does before that: it takes as much memory as a *compressed* buffer says that it will
need, and it hands the types of *extensions* to whatever code has registered for them. Streams written here
have neither, so a stream that has one is refused. Messages and their flatbuffers are read by hand for this,
four fields in all: https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format,
https://github.com/apache/arrow/blob/main/format/Message.fbs.
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_U8, _U16, _I32, _U32, _I64 = Struct("<B"), Struct("<H"), Struct("<i"), Struct("<I"), Struct("<q")
_CONTINUES = b"\xff\xff\xff\xff"
_EXTENSION = b"ARROW:extension:name"

# Message.fbs: fields of Message, values of MessageHeader, and the place of what is of interest in each header
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_BATCH_COMPRESSION, _DICTIONARY_DATA = 3, 1


def check(stream: memoryview) -> None:
    """See that a stream is whole, without compressed buffers and without extension types.

    Raises:
        ValueError: it is not.
    """
    at = 0
    while at < len(stream):
        if stream[at : at + 4] != _CONTINUES or at + 8 > len(stream):
            raise ValueError("not an Arrow stream")
        (size,) = _U32.unpack_from(stream, at + 4)
        at += 8
        if size == 0:
            break
        if size > len(stream) - at:
            raise ValueError("an Arrow stream that ends within a message")
        at += size + _body_length(stream[at : at + size])
    if at != len(stream):
        raise ValueError("an Arrow stream that ends too early, or too late")


def _body_length(message: memoryview) -> int:
    root = _Table(message, _read(_U32, message, 0))
    place = root.field(_HEADER_TYPE)
    kind = _read(_U8, message, place) if place else 0
    header = root.child(_HEADER)
    if kind == _DICTIONARY and header is not None:
        header = header.child(_DICTIONARY_DATA)
    if kind in (_DICTIONARY, _BATCH):
        if header is None or header.field(_BATCH_COMPRESSION):
            raise ValueError("a compressed buffer in an Arrow stream")
    elif kind != _SCHEMA or _EXTENSION in bytes(message):
        raise ValueError("an extension type, or a message of another kind, in an Arrow stream")
    place = root.field(_BODY_LENGTH)
    length: int = _read(_I64, message, place) if place else 0
    if length < 0:
        raise ValueError("a message of negative length in an Arrow stream")
    return length


class _Table:
    """A table of a flatbuffer: its fields are found through a second table, of offsets."""

    def __init__(self, data: memoryview, at: int) -> None:
        self.data = data
        self.at = at
        self.offsets = at - _read(_I32, data, at)
        self.size = _read(_U16, data, self.offsets)

    def field(self, number: int) -> int:
        """Where a field is; 0 if it is left out."""
        entry = 4 + 2 * number
        offset = _read(_U16, self.data, self.offsets + entry) if entry + 2 <= self.size else 0
        return self.at + offset if offset else 0

    def child(self, number: int) -> _Table | None:
        """The table that a field refers to."""
        place = self.field(number)
        return _Table(self.data, place + _read(_U32, self.data, place)) if place else None


def _read(form: Struct, data: memoryview, at: int) -> Any:
    if not 0 <= at <= len(data) - form.size:
        raise ValueError("a message of an Arrow stream points outside itself")
    return form.unpack_from(data, at)[0]
