"""The number of a record, which is known last.

The number orders the records of a key, so it is given under the write lock; but a record is packed before,
when it can still be refused by itself. The naive way packs it again for its number: a tenth of what a small
result costs, and every process waits for it. What we do: pack it once, and put the number into the bytes.
"""

from __future__ import annotations

import msgpack

from scalable_cas.errors import NotStorable
from scalable_cas.format.record import LONGEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.format.record import Record

#: Of msgpack: the last first byte of a map of up to 15 fields (a larger one has two bytes more), and that of
#: a text of 32 to 255 bytes, with a byte for its length; the next two have two and four.
_FIXMAP, _STR8 = 0x8F, 0xD9
#: Where the function's name begins: after the map's first byte, type, key, function id, and the field's own.
_NAME_AT = 1 + 2 + (1 + 2 + 32) + (1 + 2 + 8) + 1
#: Bytes that a number may take.
_LONGEST_NUMBER = 9


def pack_unnumbered(record: Record) -> bytes:
    """A record as bytes that is still to get its number (`numbered`).

    Raises:
        NotStorable: it cannot be packed, or not be read again.
    """
    record.sequence = 0
    try:
        packed = record.pack()
    except (ValueError, TypeError, OverflowError) as error:  # an OverflowError is no ValueError
        raise NotStorable(record.codec, f"what is to be kept about it cannot be written: {error}") from error
    if len(packed) > LONGEST - _LONGEST_NUMBER:
        what = f"what is to be kept about it ({len(packed)} bytes) is longer than {LONGEST} bytes"
        raise NotStorable(record.codec, f"{what}; shorten _version, or the names of arguments")
    return packed


def pack_number(sequence: int) -> bytes:
    """A number, as `numbered` needs it."""
    packed: bytes = msgpack.packb(sequence)
    return packed


def numbered(packed: bytes, sequence: bytes) -> bytes:
    """What `pack_unnumbered` gave, with a number that `pack_number` made: the bytes of the record with it.

    The number follows the text of the function's name, and that three fields of known lengths.
    """
    at = _NAME_AT if packed[0] <= _FIXMAP else _NAME_AT + 2
    form = packed[at]
    if form < _STR8:
        at += 1 + (form & 0x1F)
    else:
        width = 1 << (form - _STR8)
        at += 1 + width + int.from_bytes(packed[at + 1 : at + 1 + width], "big")
    return b"".join((packed[: at + 1], sequence, packed[at + 2 :]))
