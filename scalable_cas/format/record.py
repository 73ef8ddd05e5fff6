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
        packed: bytes = msgpack.packb(fields)
        return packed


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
        fields = msgpack.unpackb(data, strict_map_key=False)
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise MalformedObject("record", str(error)) from error
    if not isinstance(fields, dict):
        raise MalformedObject("record", "not a map")
    record = Record(
        _field(fields, KEY, bytes, 32),
        _field(fields, FNID, bytes, 8),
        _field(fields, FUNCTION, str),
        type_=_field(fields, TYPE, int),
    )
    record.sequence = _field(fields, SEQUENCE, int)
    record.created = _field(fields, CREATED, int)
    if record.type == REF:
        _unpack_ref(record, fields)
    elif record.type not in (TOMBSTONE, PIN, UNPIN):
        raise MalformedObject("record", f"type {record.type} is not known here")
    record.extra = {number: value for number, value in fields.items() if number not in _KNOWN}
    return record


_KNOWN = frozenset((*range(14), ORIGIN, SEQUENCE, TTL, OUTLINES, SEED, PACKAGES, REACHED))


def _unpack_ref(record: Record, fields: dict[Any, Any]) -> None:
    record.codec = _field(fields, CODEC, str)
    record.kind = _field(fields, KIND, int)
    record.oid = _field(fields, OID, bytes, 32)
    record.size = _field(fields, SIZE, int)
    record.total = _field(fields, TOTAL, int)
    record.seconds = float(_field(fields, SECONDS, (float, int)))
    version = fields.get(VERSION)
    if version is not None and not isinstance(version, (str, int)):
        raise MalformedObject("record", "its version is neither text nor a number")
    record.version = version
    if record.kind not in KIND_NAMES or record.size < 0 or record.total < 0:
        raise MalformedObject("record", "impossible kind or size")
    record.ttl = _field(fields, TTL, int) if TTL in fields else 0
    code = fields.get(CODE, ())
    record.code = [form for form in code if isinstance(form, str)] if isinstance(code, list) else ()
    origin = fields.get(ORIGIN, "")
    record.origin = origin if isinstance(origin, str) else ""
    try:
        record.parts = [
            (str(section), str(name), bytes(digest)) for section, name, digest in fields.get(PARTS, ())
        ]
    except (TypeError, ValueError) as error:
        raise MalformedObject("record", "its parts are not triples") from error
    # What only explains is never a reason to refuse an entry: of another form than expected, it is left out.
    outlines, seed, packages = (fields.get(number) for number in (OUTLINES, SEED, PACKAGES))
    reached = fields.get(REACHED)
    if isinstance(reached, dict):
        record.reached = {str(name): digest for name, digest in reached.items() if isinstance(digest, bytes)}
    record.outlines = outlines if isinstance(outlines, list) else ()
    record.seed = seed if isinstance(seed, bytes) else b""
    if isinstance(packages, dict):
        record.packages = {str(name): str(version) for name, version in packages.items()}


def _field(
    fields: dict[Any, Any], number: int, type_: type | tuple[type, ...], length: int | None = None
) -> Any:
    value: Any = fields.get(number)
    right = isinstance(value, type_) and not isinstance(value, bool)
    if not right or (length is not None and len(value) != length):
        raise MalformedObject("record", f"field {number} is missing or of the wrong type")
    return value
