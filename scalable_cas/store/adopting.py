"""Take over entries from elsewhere whose objects have been put in place: journal and rows, marked as foreign.
Keeps I2, I4 and I7.

The protocol is the writer's (store/writer.py): the epoch is read before the first object is looked for; under
the write lock each object is named with the present epoch, and where a collector was at work since, it is
looked at again whether its file is still there. An entry that lacks one is left out, and can be had again.
"""

from __future__ import annotations

from scalable_cas.format import rows
from scalable_cas.store.writer import ref_row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scalable_cas.format.record import Record
    from scalable_cas.storage.index import Changes
    from scalable_cas.storage.loose import Placed
    from scalable_cas.store.core import StoreCore

#: Entries in one transaction: some ms, which is how long a neighbour may have to wait.
BATCH = 2000


class Arrived:
    """An object that was put in place: its kind, the size of its content, and where it is."""

    __slots__ = ("kind", "place", "size")

    def __init__(self, kind: int, size: int, place: Placed) -> None:
        self.kind = kind
        self.size = size
        self.place = place


class Adoption:
    """An entry to take over: its record, whose ``origin`` says who signed it; the names of all its objects;
    the content of its root where that is small enough to be copied into its row, else None.
    """

    __slots__ = ("closure", "content", "record")

    def __init__(self, record: Record, closure: tuple[bytes, ...], content: bytes | None) -> None:
        self.record = record
        self.closure = closure
        self.content = content


def adopt(
    store: StoreCore, epoch: int, entries: Sequence[Adoption], arrived: Mapping[bytes, Arrived]
) -> tuple[int, list[Adoption]]:
    """Take over entries; an entry of the same key that is here already is kept. ``epoch``: that of the index
    before the first object was put or found. Returns how many entries are new, and those that lack an object,
    because a collector took it.

    Raises:
        StoreReadOnly, StoreBusy, IndexDamaged: those of earlier batches are there.
    """
    new, lacking = 0, []
    for at in range(0, len(entries), BATCH):
        batch = _Batch(store, epoch, entries[at : at + BATCH], arrived)
        store.index.write(batch.publish)
        new += batch.new
        lacking += batch.lacking
    return new, lacking


class _Batch:
    """What is taken over in one transaction."""

    def __init__(
        self, store: StoreCore, epoch: int, entries: Sequence[Adoption], arrived: Mapping[bytes, Arrived]
    ) -> None:
        self._store = store
        self._epoch = epoch
        self._entries = entries
        self._arrived = arrived
        self.new = 0
        self.lacking: list[Adoption] = []

    def publish(self, changes: Changes) -> None:
        """Journal and rows. Under the write lock; may be run again from the start."""
        current, again = changes.settle_epoch(self._epoch)
        self.new, self.lacking = 0, []
        objects: dict[bytes, bytes] = {}
        there: dict[bytes, bool] = {}
        sequence = changes.next_number("sequence")
        packed: dict[bytes, bytes] = {}
        refs: dict[bytes, bytes] = {}
        names: dict[bytes, str] = {}
        for entry in self._entries:
            record = entry.record
            if changes.ref(record.rowkey) is not None or record.rowkey in refs:
                continue
            for oid in entry.closure:
                if oid not in there:
                    row = self._object_row(changes, oid, current, again)
                    there[oid] = row is not None
                    if row is not None:
                        objects[oid] = row
            place = self._root_place(record.oid, again) if all(map(there.get, entry.closure)) else None
            if place is None:
                self.lacking.append(entry)
                continue
            record.sequence = sequence
            packed[record.rowkey] = record.pack()
            content = bytes(rows.INLINE_BYTES + 1) if entry.content is None else entry.content
            refs[record.rowkey] = ref_row(self._store.secret, record, place, content, rows.FOREIGN)
            names[record.fnid] = record.function
        self.new = len(refs)
        if refs:
            for table, items in (("objects", objects), ("refs", refs), ("records", packed)):
                changes.put_sorted(table, items)
            changes.name_functions(names)
            self._store.journal.append(list(packed.values()), sync=True)

    def _object_row(self, changes: Changes, oid: bytes, epoch: int, again: bool) -> bytes | None:
        """The row of an object, named in this epoch; None if the object is not there any more."""
        arrived = self._arrived.get(oid)
        if arrived is None or (again and not self._is_there(oid, arrived.place)):
            row = changes.object_row(oid)
            if row is None:
                return None
            return rows.pack_object(
                row.kind, row.coding, row.size, row.stored, epoch, row.pack, row.offset
            )
        place = arrived.place
        return rows.pack_object(
            arrived.kind, place.coding, arrived.size, place.stored, epoch, place.pack, place.offset
        )

    def _is_there(self, oid: bytes, place: Placed) -> bool:
        objects = self._store.objects
        seen = objects.packs.stat(place.pack) if place.pack else objects.loose.stat(oid)
        return seen is not None

    def _root_place(self, oid: bytes, again: bool) -> Placed | None:
        arrived = self._arrived.get(oid)
        if arrived is None or (again and not self._is_there(oid, arrived.place)):
            return self._store.objects.place(oid)
        return arrived.place
