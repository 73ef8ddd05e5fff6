"""The ref record: what is kept about one stored call (format-v1, section 5).

It goes to the journal, to the index and, signed, to remotes. It is a msgpack map with small integer keys; a
reader keeps the fields that it does not know. Observations (when, how long, by whom) stand beside the names
of the objects, never inside an object: two machines that compute the same thing must produce the same
objects.
"""

from __future__ import annotations

import msgpack

from scalable_cas.errors import MalformedObject
from scalable_cas.format.kinds import KIND_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

REF = 1
TOMBSTONE = 2
PIN = 3
UNPIN = 4
#: The origin of what came with a store that somebody else wrote (rebuild), and of what was pulled unsigned.
FOREIGN = "foreign"
UNSIGNED = "unsigned"
#: The function id in the record of a pin that keeps an object, which belongs to no function.
NO_FUNCTION = bytes(8)
#: The key in the tombstone of a whole function; with `NO_FUNCTION`, of everything.
EVERY_KEY = bytes(32)

# field numbers; a number is never used again
TYPE, KEY, FNID, FUNCTION, CODEC, KIND, OID, SIZE, TOTAL, CREATED, SECONDS, VERSION, PARTS = range(13)
CODE, ORIGIN, KEY_ID, SIGNATURE, SEQUENCE, TTL = range(13, 19)  # KEY_ID and SIGNATURE are reserved
OUTLINES, SEED, PACKAGES, REACHED = range(19, 23)

#: A record this long is refused: the longest honest one has a name and a digest for each of some hundred
#: arguments.
LONGEST = 1 << 20
#: Levels of lists and maps in a field; an honest outline has five.
DEEPEST = 16
#: Seconds; three hundred thousand years, and small enough for the float of a row.
LONGEST_RUN = 1e13
_TOO_MUCH = 1 << 64
#: Bytes that msgpack takes to begin with: of the quarter of a megabyte that it would take, malloc asks the
#: system each time, and packing takes 1.6 times as long.
_BUFFER = 16 << 10
#: The least integer that msgpack has bytes for.
_LEAST = -(1 << 63)


class Record:
    """One stored call, or (``type``) the fact that it was forgotten, pinned or unpinned.

    ``key`` 32 bytes, ``fnid`` 8 bytes; ``oid``, ``kind``, ``size`` name the root object and its content's
    length in bytes; ``total`` is the value's whole length with all its buffers; ``created`` in nanoseconds
    since 1970; ``seconds`` the run time of the function; ``parts`` the (section, argument, digest) triples of
    the call key; ``outlines`` what is kept of each to explain a difference (keys/outline.py), in the same
    order; ``code`` the fingerprints of the code that made it, that of the bytecode first, empty if unknown;
    ``seed`` a digest of SCALABLE_SEED, 8 bytes or b""; ``packages`` the versions that the function ran with;
    ``reached`` what ``_code="deps"`` found, name -> 8 bytes;
    ``ttl`` the age in ns after which gc may drop it, 0 for never; ``sequence`` the number of the index
    transaction that published it, which orders the records of one key; ``extra`` the fields unknown
    here.
    """

    __slots__ = (
        "code",
        "codec",
        "created",
        "extra",
        "fnid",
        "function",
        "key",
        "kind",
        "oid",
        "origin",
        "outlines",
        "packages",
        "parts",
        "reached",
        "seconds",
        "seed",
        "sequence",
        "size",
        "total",
        "ttl",
        "type",
        "version",
    )

    def __init__(
        self,
        key: bytes,
        fnid: bytes,
        function: str,
        *,
        codec: str = "",
        kind: int = 0,
        oid: bytes = b"",
        size: int = 0,
        total: int = 0,
        created: int = 0,
        seconds: float = 0.0,
        version: str | int | None = None,
        parts: Sequence[tuple[str, str, bytes]] = (),
        sequence: int = 0,
        type_: int = REF,
    ) -> None:
        self.type = type_
        self.key = key
        self.fnid = fnid
        self.function = function
        self.codec = codec
        self.kind = kind
        self.oid = oid
        self.size = size
        self.total = total
        self.created = created
        self.seconds = seconds
        self.version = version
        self.parts = parts
        self.outlines: Sequence[Any] = ()
        self.seed = b""
        self.packages: dict[str, str] = {}
        self.reached: dict[str, bytes] = {}
        self.code: Sequence[str] = ()
        self.origin = ""
        self.ttl = 0
        self.sequence = sequence
        self.extra: dict[int, object] = {}

    @property
    def pin_target(self) -> bytes:
        """What the record of a pin keeps: a row key, or the name of an object."""
        return self.key if self.fnid == NO_FUNCTION else self.rowkey

    @property
    def rowkey(self) -> bytes:
        """The key of the index row: function id, then call key, so one function's entries lie together."""
        return self.fnid + self.key

    def pack(self) -> bytes:
        """The record as bytes."""
        fields: dict[int, object]
        if self.type == REF:
            # one display: merging dictionaries costs three times as much, and this is done for every result
            fields = {
                TYPE: REF,
                KEY: self.key,
                FNID: self.fnid,
                FUNCTION: self.function,
                SEQUENCE: self.sequence,
                CREATED: self.created,
                CODEC: self.codec,
                KIND: self.kind,
                OID: self.oid,
                SIZE: self.size,
                TOTAL: self.total,
                SECONDS: self.seconds,
                VERSION: self.version,
                PARTS: self.parts,
            }
            if self.outlines:
                fields[OUTLINES] = self.outlines
            if self.seed:
                fields[SEED] = self.seed
            if self.packages:
                fields[PACKAGES] = self.packages
            if self.reached:
                fields[REACHED] = self.reached
            if self.code:
                fields[CODE] = [*self.code]
            if self.ttl:
                fields[TTL] = self.ttl
            if self.origin:
                fields[ORIGIN] = self.origin
        else:
            fields = {
                TYPE: self.type,
                KEY: self.key,
                FNID: self.fnid,
                FUNCTION: self.function,
                SEQUENCE: self.sequence,
                CREATED: self.created,
            }
        if self.extra:
            fields |= self.extra
        packed: bytes = msgpack.packb(fields, unicode_errors="surrogatepass", buf_size=_BUFFER)
        return packed


def told_version(version: str | int | None) -> str | int | None:
    """A version as a record keeps it, to be shown: an integer that msgpack has no bytes for (of a digest,
    say) as its hexadecimal text. The key of the call tells it from that text.
    """
    if isinstance(version, int) and not _LEAST <= version < _TOO_MUCH:
        return hex(version)  # decimal digits beyond 4,300 are refused by Python
    return version


def tombstone(rowkey: bytes, function: str, *, created: int, sequence: int) -> Record:
    """The record that says that an entry was forgotten."""
    return Record(rowkey[8:], rowkey[:8], function, created=created, sequence=sequence, type_=TOMBSTONE)


def pinning(target: bytes, function: str, *, pinned: bool, created: int, sequence: int) -> Record:
    """The record that says that an entry (``target``: its row key, 40 bytes) or an object (its name, 32
    bytes) is kept from gc, or not any more.
    """
    rowkey = target if len(target) == 40 else NO_FUNCTION + target
    kind = PIN if pinned else UNPIN
    return Record(rowkey[8:], rowkey[:8], function, created=created, sequence=sequence, type_=kind)


def unpack(data: bytes | memoryview) -> Record:
    """Read a record.

    Raises:
        MalformedObject: not a record, or a field of the wrong type or size.
    """
    if len(data) > LONGEST:
        raise MalformedObject("record", f"{len(data)} bytes long")
    try:
        fields = msgpack.unpackb(data, strict_map_key=False, unicode_errors="surrogatepass")
    except (ValueError, TypeError, msgpack.exceptions.UnpackException, RecursionError) as error:
        # TypeError: a map whose key is a list
        raise MalformedObject("record", str(error)) from error
    if not isinstance(fields, dict):
        raise MalformedObject("record", "not a map")
    record = Record(
        _field(fields, KEY, bytes, 32),
        _field(fields, FNID, bytes, 8),
        _field(fields, FUNCTION, str),
        type_=_field(fields, TYPE, int),
    )
    record.sequence = _count(fields, SEQUENCE)
    record.created = _count(fields, CREATED)
    if record.type == REF:
        _unpack_ref(record, fields)
    elif record.type not in (TOMBSTONE, PIN, UNPIN):
        raise MalformedObject("record", f"type {record.type} is not known here")
    record.extra = {number: value for number, value in fields.items() if number not in _KNOWN}
    if record.extra and not _is_shallow(record.extra):
        raise MalformedObject("record", f"it is nested deeper than {DEEPEST} levels")
    return record


def bytes_below(data: bytes) -> int:
    """The bytes of content of the objects of an entry but the root, as its packed record says; 0 where it
    says nothing that makes sense.
    """
    try:
        fields = msgpack.unpackb(data, strict_map_key=False, unicode_errors="surrogatepass")
        size, total = fields[SIZE], fields[TOTAL]
    except (ValueError, TypeError, LookupError, msgpack.exceptions.UnpackException, RecursionError):
        return 0
    return max(total - size, 0) if int is type(total) is type(size) else 0


def brief(data: bytes) -> tuple[int, bytes, bytes, int, str]:
    """Type, row key, name of the root object (b"" of what is no ref), time of creation and function of a
    packed record, for whoever has to look at a hundred thousand: `unpack` takes four times as long.

    Raises:
        MalformedObject: not a record, or one of these is of the wrong type or size.
    """
    try:
        fields = msgpack.unpackb(data, strict_map_key=False, unicode_errors="surrogatepass")
        type_, key, fnid, function, created = (fields[n] for n in (TYPE, KEY, FNID, FUNCTION, CREATED))
        oid = fields[OID] if type_ == REF else b""
        lengths = len(key), len(fnid), len(oid)
        right = bytes is type(key) is type(fnid) is type(oid) and int is type(type_) is type(created)
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError, LookupError, TypeError) as error:
        raise MalformedObject("record", "a field is missing or of the wrong type") from error
    if not right or type(function) is not str or lengths not in ((32, 8, 32), (32, 8, 0)):
        raise MalformedObject("record", "a field is missing or of the wrong type")
    return type_, fnid + key, oid, created, function


def origin_of(signer: bytes) -> str:
    """What a record's ``origin`` says about a signer (an Ed25519 public key, 32 bytes; empty: nobody)."""
    import base64

    return f"ed25519:{base64.b64encode(signer).decode()}" if signer else UNSIGNED


_KNOWN = frozenset((*range(14), ORIGIN, SEQUENCE, TTL, OUTLINES, SEED, PACKAGES, REACHED))


def _unpack_ref(record: Record, fields: dict[Any, Any]) -> None:
    record.codec = _field(fields, CODEC, str)
    record.kind = _field(fields, KIND, int)
    record.oid = _field(fields, OID, bytes, 32)
    record.size = _count(fields, SIZE)
    record.total = _count(fields, TOTAL)
    seconds = _field(fields, SECONDS, (float, int))
    if not 0 <= seconds <= LONGEST_RUN:  # nor is it, if it is not a number
        raise MalformedObject("record", "an impossible run time")
    record.seconds = float(seconds)
    version = fields.get(VERSION)
    if version is not None and not isinstance(version, (str, int)):
        raise MalformedObject("record", "its version is neither text nor a number")
    record.version = version
    if record.kind not in KIND_NAMES:
        raise MalformedObject("record", "impossible kind")
    record.ttl = _count(fields, TTL) if TTL in fields else 0
    code = fields.get(CODE, ())
    record.code = [form for form in code if isinstance(form, str)] if isinstance(code, list) else ()
    origin = fields.get(ORIGIN, "")
    record.origin = origin if isinstance(origin, str) else ""
    parts = fields.get(PARTS, ())
    if not isinstance(parts, (list, tuple)) or not all(map(_is_part, parts)):
        raise MalformedObject("record", "its parts are not triples")
    record.parts = [(section, name, digest) for section, name, digest in parts]
    # What only explains is never a reason to refuse an entry: of another form than expected, it is left out.
    outlines, seed, packages = (fields.get(number) for number in (OUTLINES, SEED, PACKAGES))
    reached = fields.get(REACHED)
    if isinstance(reached, dict):
        record.reached = {
            name: digest
            for name, digest in reached.items()
            if isinstance(name, str) and isinstance(digest, bytes)
        }
    record.outlines = outlines if isinstance(outlines, list) and _is_shallow(outlines) else ()
    record.seed = seed if isinstance(seed, bytes) else b""
    if isinstance(packages, dict):
        record.packages = {
            name: version
            for name, version in packages.items()
            if isinstance(name, str) and isinstance(version, str)
        }


def _is_part(part: object) -> bool:
    return (
        isinstance(part, (list, tuple))
        and len(part) == 3
        and isinstance(part[0], str)
        and isinstance(part[1], str)
        and isinstance(part[2], bytes)
    )


def _is_shallow(items: object) -> bool:
    """Whether lists and maps are nested `DEEPEST` levels at most. msgpack itself stops at 1,024; what is
    printed, compared or packed again would meet Python's own limit first, at a place where nobody expects it.
    """
    level: list[object] = [items]
    for _ in range(DEEPEST):
        level = [
            inner
            for item in level
            if isinstance(item, (list, dict))
            for inner in (item if isinstance(item, list) else item.values())
        ]
        if not level:
            return True
    return False


def _count(fields: dict[Any, Any], number: int) -> int:
    """A size, a time or a number of something: what the index has eight bytes for."""
    found: int = _field(fields, number, int)
    if not 0 <= found < _TOO_MUCH:
        raise MalformedObject("record", f"field {number} is {found}")
    return found


def _field(
    fields: dict[Any, Any], number: int, type_: type | tuple[type, ...], length: int | None = None
) -> Any:
    value: Any = fields.get(number)
    right = isinstance(value, type_) and not isinstance(value, bool)
    if not right or (length is not None and len(value) != length):
        raise MalformedObject("record", f"field {number} is missing or of the wrong type")
    return value
