"""How many entries a function has and what they take on the disk."""

from __future__ import annotations

from scalable_cas.errors import ScalableCasError
from scalable_cas.format import record as records
from scalable_cas.format import rows
from scalable_cas.format.header import CHUNKED, HEADER_BYTES
from scalable_cas.ops.closure import descendants
from scalable_cas.ops.marking import root_children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from scalable_cas.store.core import StoreCore

#: A file takes whole blocks; this is the block of every file system we have met. A pack loses none.
BLOCK = 4096


class FunctionUsage:
    """One function: its ``entries``, and in bytes

    - ``values``: the content of all their values, each in full: what as many separate copies would take;
    - ``raw``: the different content among it; of a blob in chunks its chunks;
    - ``packed``: the same as it is stored, after compression, wherever it lies;
    - ``stored`` of files that only this function uses, and ``shared`` of files that others use too.
    """

    __slots__ = ("entries", "function", "packed", "raw", "shared", "stored", "values")

    def __init__(self, function: str) -> None:
        self.function = function
        self.entries = 0
        self.values = 0
        self.raw = 0
        self.packed = 0
        self.stored = 0
        self.shared = 0

    @property
    def ratio(self) -> float:
        """How many times smaller than ``values`` what is stored is; 1.0 if nothing is."""
        return self.values / self.packed if self.packed else 1.0

    def as_dict(self) -> dict[str, Any]:
        """The row of `du --json`."""
        return {
            "function": self.function,
            "entries": self.entries,
            "values": self.values,
            "raw": self.raw,
            "stored": self.stored,
            "shared": self.shared,
            "ratio": round(self.ratio, 2),
            "deduplicated": self.values - self.raw,
            "compressed": self.raw - self.packed,
        }


def entry_objects(store: StoreCore, fnid: bytes = b"") -> Iterator[tuple[bytes, list[bytes]]]:
    """Yield every entry's row key with the names of its objects, the root first; chunks are among them. An
    object that cannot be read has no children here.
    """
    for rowkey, row in store.index.scan("refs", fnid):
        if len(row) < rows.REF_FIXED:
            continue
        fields = rows.REF.unpack_from(row)
        names = [fields[11]]
        try:
            first = root_children(store, rowkey, row)
            names.extend(name for _, name in descendants(store.objects, first, {fields[11]}))
        except ScalableCasError:  # counting is no place to complain; verify does
            pass
        yield rowkey, names


def usage(store: StoreCore) -> list[FunctionUsage]:
    """What each function takes, the largest first."""
    store.flush()
    names = store.index.function_names()
    found: dict[bytes, FunctionUsage] = {}
    users: dict[bytes, set[bytes]] = {}
    for rowkey, oids in entry_objects(store):
        fnid = rowkey[:8]
        item = found.setdefault(fnid, FunctionUsage(names.get(fnid, fnid.hex())))
        item.entries += 1
        for oid in oids:
            users.setdefault(oid, set()).add(fnid)
    for _, data in store.index.scan("records"):
        record = records.unpack(data)
        if record.fnid in found:
            found[record.fnid].values += record.total
    for oid, fnids in users.items():
        row = store.index.object_row(oid)
        if row is None:
            continue
        for fnid in fnids:
            item = found[fnid]
            item.raw += 0 if row.coding == CHUNKED else row.size
            item.packed += row.stored - HEADER_BYTES
            if len(fnids) == 1:
                item.stored += _on_disk(row)
            else:
                item.shared += _on_disk(row)
    return sorted(found.values(), key=lambda item: (-item.stored - item.shared, item.function))


def function_usage(store: StoreCore, fnid: bytes) -> tuple[int, int]:
    """Entries and stored bytes (each object once) of one function."""
    store.flush()
    entries, oids = 0, set()
    for _, names in entry_objects(store, fnid):
        entries += 1
        oids.update(names)
    total = 0
    for oid in oids:
        row = store.index.object_row(oid)
        total += row.stored if row is not None else 0
    return entries, total


def _on_disk(row: rows.ObjectRow) -> int:
    stored: int = row.stored
    return stored if row.pack else -(-stored // BLOCK) * BLOCK
