"""What is stored, as rows for people and programs. Values are bytes here: nothing is decoded, nothing
changes.
"""

from __future__ import annotations

from scalable_cas import clock
from scalable_cas.errors import CorruptObject, IndexDamaged, MalformedObject, ObjectNotFound, ObjectUnreadable
from scalable_cas.format import record as records
from scalable_cas.format import rows
from scalable_cas.format.header import CHUNKED, HEADER_BYTES, RAW, ZSTD
from scalable_cas.format.kinds import BLOB, KIND_NAMES, TREE
from scalable_cas.ops.closure import children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from scalable_cas.format.header import Header
    from scalable_cas.format.record import Record
    from scalable_cas.storage.objects import Objects
    from scalable_cas.store.core import StoreCore


class Entry:
    """One stored call. ``record`` holds everything that was kept of it; ``foreign`` says that it was not made
    here.
    """

    __slots__ = ("foreign", "record")

    def __init__(self, record: Record, *, foreign: bool) -> None:
        self.record = record
        self.foreign = foreign

    @property
    def key(self) -> str:
        """The call key, 64 hex digits."""
        return self.record.key.hex()

    @property
    def function(self) -> str:
        """`module.qualname`."""
        return self.record.function

    @property
    def size(self) -> int:
        """Length of the stored value in bytes, uncompressed, with all its buffers."""
        return self.record.total

    @property
    def created(self) -> int:
        """When it was stored, in nanoseconds since 1970."""
        return self.record.created

    @property
    def seconds(self) -> float:
        """How long the function ran."""
        return self.record.seconds

    @property
    def codec(self) -> str:
        """How the value is encoded; the name contains "pickle" exactly if decoding can run code."""
        return self.record.codec

    @property
    def origin(self) -> str:
        """``local`` for what this user computed here; for what came from elsewhere the key that signed it
        (``ed25519:…``), ``unsigned``, or ``foreign`` for what came with a store that somebody else wrote.
        """
        return (self.record.origin or records.FOREIGN) if self.foreign else "local"

    def __repr__(self) -> str:
        return f"Entry({self.key[:12]}…, {self.function}, {self.size} bytes)"

    def as_dict(self) -> dict[str, Any]:
        """The row of `ls --json`: plain types only."""
        return {
            "key": self.key,
            "function": self.function,
            "size": self.size,
            "created": clock.iso(self.created),
            "seconds": self.seconds,
            "codec": self.codec,
            "origin": self.origin,
            "version": self.record.version,
            "object": self.record.oid.hex(),
        }


def entries(store: StoreCore, functions: Iterable[bytes] | None = None) -> Iterator[Entry]:
    """Yield the entries of some functions (ids of 8 bytes), or of all, in the order of the index.

    Raises:
        IndexDamaged: a record cannot be read.
    """
    store.writer.flush()
    for fnid in (b"",) if functions is None else functions:
        # Two tables with the same keys, read side by side: a look-up for each row would take three times as
        # long.
        refs = store.index.scan("refs", fnid)
        rowkey, row = next(refs, (b"", b""))
        for key, data in store.index.scan("records", fnid):
            while rowkey and rowkey < key:
                rowkey, row = next(refs, (b"", b""))
            if rowkey == key:  # else it was forgotten while we read
                yield _entry(store, data, row)


def entry(store: StoreCore, rowkey: bytes) -> Entry | None:
    """The entry of a row key (40 bytes), or None.

    Raises:
        IndexDamaged: its record cannot be read.
    """
    store.writer.flush()
    for key, data in store.index.scan("records", rowkey):
        row = store.index.ref(key)
        if row is not None:
            return _entry(store, data, row)
    return None


def _entry(store: StoreCore, data: bytes, row: bytes) -> Entry:
    try:
        record = records.unpack(data)
    except MalformedObject as error:
        raise IndexDamaged(store.index.path, f"a record cannot be read: {error.reason}") from error
    return Entry(record, foreign=len(row) > rows.TAG_BYTES and bool(row[rows.TAG_BYTES] & rows.FOREIGN))


def newest(found: Iterable[Entry], count: int | None = None) -> list[Entry]:
    """The entries that were stored last, the newest first; all of them if ``count`` is None."""
    from heapq import nlargest

    if count is None:
        return sorted(found, key=_age, reverse=True)
    return nlargest(count, found, key=_age)


def _age(item: Entry) -> tuple[int, bytes]:
    return item.created, item.record.key


def objects_of(store: StoreCore, item: Entry) -> list[dict[str, Any]]:
    """The objects of an entry, the root first: ``oid``, ``kind``, ``size``, ``stored`` (bytes that it takes,
    with its chunks), how (``coding``: raw, zstd, shuffled, chunked) and the number of its ``chunks``; or
    ``problem``.
    """
    root = item.record.kind, item.record.oid
    found = [_described(store, *root)]
    if "problem" not in found[0] and root[0] != BLOB:
        try:
            found.extend(_described(store, kind, oid) for kind, oid in _below(store.objects, root))
        except (ObjectNotFound, CorruptObject, ObjectUnreadable) as error:
            found[0]["problem"] = str(error)
    return found


def _below(objects: Objects, root: tuple[int, bytes]) -> Iterator[tuple[int, bytes]]:
    """What a value is made of, each once: buffers, and what folders hold. Chunks are told by their number."""
    queue, seen = list(children(objects, *root)), {root[1]}
    while queue:
        kind, oid = queue.pop(0)
        if oid not in seen:
            seen.add(oid)
            yield kind, oid
            if kind == TREE:
                queue.extend(children(objects, kind, oid))


def _described(store: StoreCore, kind: int, oid: bytes) -> dict[str, Any]:
    row: dict[str, Any] = {"oid": oid.hex(), "kind": KIND_NAMES[kind]}
    try:
        head = store.objects.head(oid)
    except (ObjectNotFound, CorruptObject, ObjectUnreadable) as error:
        return row | {"problem": str(error)}
    row |= {"size": head.raw_size, "coding": _coding(head), "chunks": 0}
    try:
        names = chunk_names(store.objects, head)
    except (ObjectNotFound, CorruptObject, ObjectUnreadable) as error:
        return row | {"problem": str(error)}
    return row | {"stored": stored_size(store.objects, head), "chunks": len(names)}


def chunk_names(objects: Objects, head: Header) -> list[bytes]:
    """The chunks of an object in their order; none of one that is not stored in chunks.

    Raises:
        ObjectNotFound, CorruptObject, ObjectUnreadable: the list cannot be read.
    """
    if head.coding != CHUNKED:
        return []
    return [name for _, name in children(objects, head.kind, head.oid)]


def stored_size(objects: Objects, head: Header) -> int:
    """What an object takes in bytes, with its chunks, each once; those that other objects share too.

    Raises:
        ObjectNotFound, CorruptObject, ObjectUnreadable: as `chunk_names`.
    """
    known = objects.known(list(set(chunk_names(objects, head))))
    chunks: int = sum(row.stored for row in known.values())
    return HEADER_BYTES + head.stored_size + chunks


def _coding(head: Header) -> str:
    if head.filter:
        return "shuffled"
    return {RAW: "raw", ZSTD: "zstd", CHUNKED: "chunked"}[head.coding]
