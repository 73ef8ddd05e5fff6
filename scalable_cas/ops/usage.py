"""How many entries a function has and what they take on the disk."""

from __future__ import annotations

from scalable_cas.errors import ScalableCasError
from scalable_cas.format import rows
from scalable_cas.ops.marking import root_children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scalable_cas.store.core import StoreCore

#: A file takes whole blocks; this is the block of every file system we have met. A pack loses none.
BLOCK = 4096


class FunctionUsage:
    """One function: its ``entries``, ``raw`` bytes of their values as stored content, ``stored`` bytes of
    files that only it uses, and ``shared`` bytes of files that others use too.
    """

    __slots__ = ("entries", "function", "raw", "shared", "stored")

    def __init__(self, function: str) -> None:
        self.function = function
        self.entries = 0
        self.raw = 0
        self.stored = 0
        self.shared = 0


def entry_objects(store: StoreCore, fnid: bytes = b"") -> Iterator[tuple[bytes, list[bytes]]]:
    """Yield every entry's row key with the names of its objects, the root first. An object that cannot be
    read has no children here.
    """
    for rowkey, row in store.index.scan("refs", fnid):
        if len(row) < rows.REF_FIXED:
            continue
        names = [rows.REF.unpack_from(row)[11]]
        try:
            names.extend(name for _, name in root_children(store, rowkey, row))
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
    for oid, fnids in users.items():
        row = store.index.object_row(oid)
        if row is None:
            continue
        for fnid in fnids:
            item = found[fnid]
            item.raw += row.size
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
