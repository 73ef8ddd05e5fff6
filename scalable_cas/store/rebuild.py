"""Rebuild the index from the journal and the objects (I4). A routine operation: it is what happens when ``index/`` is deleted, damaged, or made by another version.

The journal is the truth: for each key the record with the highest sequence number stands, a tombstone removes. A record whose root object is missing is left out (I2) and counted.
Records that do not carry this user's tag come from elsewhere (an unpacked archive, another user): they are kept, marked foreign, and decoded without running code.
"""

from __future__ import annotations

from scalable_cas.errors import CorruptObject, ObjectNotFound, ObjectUnreadable
from scalable_cas.format import record as records
from scalable_cas.format import rows
from scalable_cas.format.header import HEADER_BYTES
from scalable_cas.storage.journal import SegmentFault
from scalable_cas.storage.loose import Placed
from scalable_cas.store.writer import ref_row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scalable_cas.format.record import Record
    from scalable_cas.storage.index import Changes, Index
    from scalable_cas.storage.journal import Journal
    from scalable_cas.storage.loose import LooseObjects

_BATCH = 2000  # rows per write transaction


class Rebuilt:
    """What a rebuild found: counts of ``entries``, ``objects``, entries whose object is ``missing``, ``foreign`` entries, and the journal's ``faults``."""

    def __init__(self) -> None:
        self.entries = 0
        self.objects = 0
        self.missing = 0
        self.foreign = 0
        self.faults: list[SegmentFault] = []


def fill_index(index: Index, journal: Journal, objects: LooseObjects, *, adopt: bool = False, progress: Callable[[int], None] | None = None) -> Rebuilt:
    """Empty the index and fill it from files. ``adopt`` takes foreign records over as the user's own; ``progress`` is told the number of rows written.

    Pins, times of use and counters are kept.

    Raises:
        StoreReadOnly, StoreBusy: the index cannot be written.
    """
    result = Rebuilt()
    latest, highest = _replay(journal, result)
    index.write(lambda changes: changes.clear("refs", "records", "objects", "functions"))
    names: list[bytes] = []
    for oid in objects.names():
        names.append(oid)
        if len(names) == _BATCH:
            index.write(lambda changes: _put_objects(changes, objects, names, result))
            names = []
            if progress is not None:
                progress(result.objects)
    index.write(lambda changes: _put_objects(changes, objects, names, result))
    alive = [item for item in latest.values() if item[0].type == records.REF]
    for at in range(0, len(alive), _BATCH):
        index.write(lambda changes, at=at: _put_entries(changes, objects, alive[at : at + _BATCH], index.secret, adopt, result))
        if progress is not None:
            progress(result.objects + result.entries)
    if adopt:  # the user's tag goes on the records themselves, or the next rebuild would call them foreign again
        foreign = [record for record, own in latest.values() if not own]
        index.write(lambda changes: journal.append(foreign, sync=True) if foreign else None)
    index.write(lambda changes: changes.set_number("sequence", max(highest, changes.number("sequence"))))
    return result


def _replay(journal: Journal, result: Rebuilt) -> tuple[dict[bytes, tuple[Record, bool]], int]:
    latest: dict[bytes, tuple[Record, bool]] = {}
    highest = 0
    for path in journal.segments():
        for found in journal.read(path):
            if isinstance(found, SegmentFault):
                result.faults.append(found)
                continue
            record, own = found
            highest = max(highest, record.sequence)
            before = latest.get(record.rowkey)
            if before is None or (record.sequence, record.created) >= (before[0].sequence, before[0].created):
                latest[record.rowkey] = (record, own)
    return latest, highest


def _put_objects(changes: Changes, objects: LooseObjects, names: list[bytes], result: Rebuilt) -> None:
    for oid in names:
        try:
            head = objects.head(oid)
        except (ObjectNotFound, CorruptObject, ObjectUnreadable):  # verify names it
            continue
        changes.put_object(oid, rows.pack_object(rows.LOOSE, head.kind, head.coding, head.raw_size, HEADER_BYTES + head.stored_size, 0))
        result.objects += 1


def _put_entries(changes: Changes, objects: LooseObjects, batch: list[tuple[Record, bool]], secret: bytes, adopt: bool, result: Rebuilt) -> None:
    for record, own in batch:
        seen = objects.stat(record.oid)
        if changes.ref(record.rowkey) is not None:  # stored by a neighbour since the tables were emptied: newer than the journal we read
            continue
        if seen is None:
            result.missing += 1
            continue
        content: bytes | memoryview = bytes(rows.INLINE_BYTES + 1)  # too long to be copied into the row
        if record.size <= rows.INLINE_BYTES:
            try:
                head, content = objects.get(record.oid, largest=rows.INLINE_BYTES)
            except (ObjectNotFound, CorruptObject, ObjectUnreadable):
                content = bytes(rows.INLINE_BYTES + 1)
        flags = 0 if own or adopt else rows.FOREIGN
        result.foreign += bool(flags)
        changes.put_entry(record, ref_row(secret, record, Placed(seen, 0, new=False), content, flags))
        result.entries += 1
