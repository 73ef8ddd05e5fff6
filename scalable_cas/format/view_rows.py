"""Rows of the table ``views``: the local copy of what remotes hold (format-v1, section 7). Derived from the
remote's segments, and thrown away whenever in doubt.

A key is the view's id (8 bytes), a letter, and what it is about.
"""

from __future__ import annotations

from struct import Struct

from blake3 import blake3

from scalable_cas.errors import MalformedObject
from scalable_cas.format.segment import LATEST, ObjectPlace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

VIEW_BYTES = 8
#: state; entries and their records by row key; objects by name; segments by number, and their bytes; joined
#: files by id; functions by id; places known to be bad, by object and holder; files of segments known to be
#: bad, by name; uploads that no segment names yet, by holder; entries that are to be sent, by row key; of
#: each small pack the objects that are read from it (their names), by holder
STATE, ENTRY, RECORD, OBJECT, SEGMENT, COPY, JOINED, FUNCTION, BAD, BAD_FILE, SENT, QUEUED, PACK = (
    bytes([letter]) for letter in b"serogcjfbxuqp"
)
#: The row of a segment whose bytes are those of its own file; of others it is empty.
ALONE = b"\1"
#: created (ns), name of the root object, whether its signer was trusted at the last refresh
_ENTRY = Struct("<Q32s?")
#: when its segment was written (ns), kind, coding, 0, raw size, offset, length, holder (zeros: by itself)
_PLACE = Struct("<QBB2xQQQ32s")
_OWN_FILE = bytes(32)
#: Places of one object that are kept: more are of no use, and an enemy could name thousands.
MOST_PLACES = 8


def view_id(url: str, remote_id: bytes) -> bytes:
    """The id of the view of a remote: another address, or another remote at the same, is another view."""
    found: bytes = blake3(remote_id + url.encode("utf-8", "surrogatepass")).digest(VIEW_BYTES)
    return found


def outbox(url: str) -> bytes:
    """How the keys of entries that are to be sent to a URL begin, whichever remote is there: results wait
    here also before it was ever reached.
    """
    return view_id(url, b"") + QUEUED


def sane_time(created: int) -> int:
    """A time of elsewhere, within what a row can hold."""
    return min(max(created, 0), LATEST)


def pack_entry(created: int, oid: bytes, *, trusted: bool) -> bytes:
    """The row of an entry."""
    return _ENTRY.pack(created, oid, trusted)


def unpack_entry(row: bytes) -> tuple[int, bytes, bool]:
    """Created (ns), the name of the root object, and whether its signer was trusted at the last refresh."""
    created, oid, trusted = _ENTRY.unpack(row.ljust(_ENTRY.size, b"\0"))  # before there was a third
    return created, oid, trusted


def pack_record(origin: str, record: bytes) -> bytes:
    """The row of a record: who signed it, and its bytes."""
    text = origin.encode()
    return bytes([len(text)]) + text + record


def unpack_record(row: bytes) -> tuple[str, bytes]:
    """Who signed a record, and its bytes."""
    end = 1 + row[0]
    return row[1:end].decode(), row[end:]


def add_place(row: bytes | None, place: ObjectPlace, created: int) -> bytes:
    """The row of an object with one more place; those of the youngest segments come first. Of what several
    segments say of one file the youngest counts, in whatever order they are learned.
    """
    holder = place.holder or _OWN_FILE
    new = _PLACE.pack(created, place.kind, place.coding, place.raw_size, place.offset, place.length, holder)
    if not row or len(row) % _PLACE.size:  # a damaged one says nothing
        return new
    found: dict[bytes, tuple[int, bytes]] = {}
    for item in (*(row[at : at + _PLACE.size] for at in range(0, len(row), _PLACE.size)), new):
        found[item[-32:]] = max((since(item), item), found.get(item[-32:], (-1, b"")))
    # of two of one time the lesser name, so that all readers take the same
    rows = sorted(found.values(), key=lambda timed: (-timed[0], timed[1][-32:]))
    return b"".join(item for _, item in rows[:MOST_PLACES])


def home(row: bytes | None) -> bytes:
    """The pack that an object is read from, by its row; empty if it has none, or is a file of its own."""
    holder = row[_PLACE.size - 32 : _PLACE.size] if row else b""
    return b"" if holder == _OWN_FILE else holder


def since(row: bytes) -> int:
    """When the segment was written that says so (ns)."""
    created: int = _PLACE.unpack_from(row)[0]
    return created


def names(row: bytes | None) -> list[bytes]:
    """The names in the row of a small pack."""
    return [row[at : at + 32] for at in range(0, len(row), 32)] if row else []


def places(oid: bytes, row: bytes | None) -> tuple[ObjectPlace, ...]:
    """The places in the row of an object, the likeliest first.

    Raises:
        MalformedObject: the row is damaged.
    """
    if not row:
        return ()
    if len(row) % _PLACE.size:
        raise MalformedObject("view row", f"{len(row)} bytes long")
    return tuple(
        ObjectPlace(oid, kind, coding, raw, b"" if holder == _OWN_FILE else holder, offset, length)
        for _, kind, coding, raw, offset, length, holder in _PLACE.iter_unpack(row)
    )


def pack_places(found: Iterable[ObjectPlace]) -> bytes:
    """Places of several objects in one holder, for the row of an upload."""
    return b"".join(
        place.oid + _PLACE.pack(0, place.kind, place.coding, place.raw_size, place.offset, place.length, b"")
        for place in found
    )


def unpack_places(row: bytes, holder: bytes) -> tuple[ObjectPlace, ...]:
    """What `pack_places` was given; ``holder``: of all of them."""
    found = []
    step = 32 + _PLACE.size
    for at in range(0, len(row) - step + 1, step):
        _, kind, coding, raw, offset, length, _ = _PLACE.unpack_from(row, at + 32)
        found.append(ObjectPlace(row[at : at + 32], kind, coding, raw, holder, offset, length))
    return tuple(found)
