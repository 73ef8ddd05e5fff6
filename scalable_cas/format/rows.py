"""Rows of the index (format-v1, section 7). The index is derived: it never leaves this machine and is rebuilt
when its schema changes.

The row of a ref is laid out for the hit path: fixed offsets, one tag over everything that a wrong bit could
spoil, and for small values the content itself. The tag is keyed BLAKE3 over the row's key and all that
follows: the binding of key and object, the times, and every byte of the inline content, whose plain digest
was checked when the row was written. One hash on a hit then covers what two would (a call costs 0.5 µs before
its first byte).
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct

from blake3 import blake3

from scalable_cas.errors import MalformedObject

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEMA = 2

TAG_BYTES = 16
#: tag, flags, codec number, object kind, 0, inline length, created (ns), seconds (float32), size of the
#: content, inode and change time (ns) of the object's file, name, code fingerprint
REF = Struct("<16sBBBBIQfQQQ32s8s")
REF_FIXED = REF.size
#: Of the same: when it was stored, seconds, the mark of the code.
REF_BRIEF = Struct("<24xQf56x8s")
FLAGS_AT, CODEC_AT, _LENGTH_AT = 16, 17, 20
#: What follows the copy in the row of a foreign entry that was signed: the key.
SIGNER_BYTES = 32
#: The row of an object: place, kind, coding, 0, size of the content, stored size, epoch of the last
#: publication that named it.
OBJECT = Struct("<BBBBQQQ")
#: What follows for an object in a pack: the pack's name, and where it starts there; the stored size is its
#: length.
IN_PACK = Struct("<32sQ")
#: Content up to this many bytes is copied into the ref's row. LMDB's live bytes per entry grow with the row
#: (217 B at 100, 685 at 400, 2,087 at 1,000) and half a page is its limit before overflow pages.
INLINE_BYTES = 1024

#: The row of an input file that was read: tag, device, inode, size, mtime, ctime, when it was read (ns since
#: 1970), BLAKE3 of its content. Tagged as a ref is: a flipped bit would be another file's digest.
FILE = Struct("<16sQQQqqq32s")
FILE_KEY_BYTES = 16

# places of an object; LOOSE and PACK are written by this version, the others are reserved in the format
LOOSE, PACK, RANGE, REMOTE = range(1, 5)

# flags of a ref row
HAS_INLINE = 1
FOREIGN = 2  # pulled or adopted: decode without running code unless its signer is trusted
PACKED = 4  # inode and time of change are those of the pack that holds the root

#: The code fingerprint of an entry whose code is not known.
UNKNOWN_CODE = bytes(8)

CODEC_NUMBERS = {
    "plain": 1,
    "bytes": 2,
    "str": 3,
    "pickle": 4,
    "data": 5,
    "numpy": 6,
    "pandas": 7,
    "arrow": 8,
    "polars": 9,
    "scipy": 10,
    "xarray": 11,
    "torch": 12,
}
CODEC_OTHER = 0  # the record holds the name


def pack_ref(
    rowkey: bytes,
    secret: bytes,
    *,
    flags: int,
    codec: str,
    kind: int,
    created: int,
    seconds: float,
    size: int,
    inode: int,
    changed: int,
    oid: bytes,
    inline: bytes | None,
    code: bytes = UNKNOWN_CODE,
    signer: bytes = b"",
) -> bytes:
    """The row of a ref under ``rowkey`` (40 bytes), tagged with the user's key ``secret`` (32 bytes).

    ``signer``: of a foreign entry, the 32-byte public key whose signature was checked; empty if none was. It
    stands in the row and not only in the record, because the tag covers the row: what decides whether a
    pickle is decoded must not be a byte that anybody could change.
    """
    length = 0 if inline is None else len(inline)
    bits = flags | (HAS_INLINE if inline is not None else 0)
    fixed = REF.pack(
        b"",
        bits,
        CODEC_NUMBERS.get(codec, CODEC_OTHER),
        kind,
        0,
        length,
        created,
        seconds,
        size,
        inode,
        changed,
        oid,
        code,
    )[TAG_BYTES:]
    body = fixed + (inline or b"") + signer
    return ref_tag(rowkey, body, secret) + body


def inline_of(row: bytes) -> memoryview | None:
    """The copy of the root's content in a ref's row, or None if there is none, or not all of it."""
    flags, length = row[FLAGS_AT], int.from_bytes(row[_LENGTH_AT : _LENGTH_AT + 4], "little")
    copy = memoryview(row)[REF_FIXED : REF_FIXED + length]
    return copy if flags & HAS_INLINE and len(copy) == length else None


def signer_of(row: bytes) -> bytes:
    """The public key (32 bytes) that signed the entry of a foreign row; empty if nobody did."""
    at = REF_FIXED + int.from_bytes(row[_LENGTH_AT : _LENGTH_AT + 4], "little")
    return row[at:] if row[FLAGS_AT] & FOREIGN and len(row) == at + SIGNER_BYTES else b""


def code_mark(forms: Sequence[str]) -> bytes:
    """The code fingerprint in a row: 8 bytes of the hash of a record's first form, that of the bytecode."""
    return _mark(forms[0]) if forms else UNKNOWN_CODE


@lru_cache(maxsize=256)  # a function's is the same for each of its results
def _mark(form: str) -> bytes:
    mark: bytes = blake3(form.encode("utf-8", "surrogatepass")).digest(8)
    return mark


def ref_tag(rowkey: bytes, body: bytes, secret: bytes) -> bytes:
    """The tag of a ref's row; ``body`` is all of the row after it."""
    tag: bytes = blake3(rowkey + body, key=secret).digest(TAG_BYTES)
    return tag


def pack_file(key: bytes, known: tuple[tuple[int, int, int, int, int], int, bytes], secret: bytes) -> bytes:
    """The row of an input file under ``key``: its stat, when it was read, its digest."""
    seen, when, digest = known
    body = FILE.pack(b"", *seen, when, digest)[TAG_BYTES:]
    return ref_tag(key, body, secret) + body


def unpack_file(
    key: bytes, row: bytes, secret: bytes
) -> tuple[tuple[int, int, int, int, int], int, bytes] | None:
    """What `pack_file` was given; None if the row is not what was written."""
    if len(row) != FILE.size or ref_tag(key, row[TAG_BYTES:], secret) != row[:TAG_BYTES]:
        return None
    _, device, inode, size, mtime, ctime, when, digest = FILE.unpack(row)
    return (device, inode, size, mtime, ctime), when, digest


def pack_object(
    kind: int, coding: int, size: int, stored: int, epoch: int, pack: bytes = b"", offset: int = 0
) -> bytes:
    """The row of an object, loose or at ``offset`` of a pack. Sizes in bytes."""
    if pack:
        return OBJECT.pack(PACK, kind, coding, 0, size, stored, epoch) + IN_PACK.pack(pack, offset)
    return OBJECT.pack(LOOSE, kind, coding, 0, size, stored, epoch)


#: The row of an object in a pack, as one: place, kind, coding, 0, size, stored size, epoch, pack, offset.
PACKED_OBJECT = Struct(OBJECT.format + IN_PACK.format.lstrip("<"))


class ObjectRow:
    """A parsed object row."""

    __slots__ = ("coding", "epoch", "kind", "offset", "pack", "place", "size", "stored")

    def __init__(self, row: bytes) -> None:
        self.pack, self.offset = b"", 0
        if len(row) == OBJECT.size + IN_PACK.size:
            self.pack, self.offset = IN_PACK.unpack_from(row, OBJECT.size)
        elif len(row) != OBJECT.size:
            raise MalformedObject("object row", f"{len(row)} bytes long")
        self.place, self.kind, self.coding, _, self.size, self.stored, self.epoch = OBJECT.unpack_from(row)
        if (self.place == PACK) != bool(self.pack):
            raise MalformedObject("object row", "its length does not fit its place")

    def moved(self, pack: bytes, offset: int) -> bytes:
        """The row of the same object in another pack."""
        return pack_object(self.kind, self.coding, self.size, self.stored, self.epoch, pack, offset)


def object_row(row: bytes | None) -> ObjectRow | None:
    """Parse an object row; None if there is none, or if it is damaged: LMDB does not notice a flipped bit,
    and what the object's file says is what counts.
    """
    try:
        return ObjectRow(row) if row else None
    except MalformedObject:
        return None
