"""Rebuild the index from the journal and the objects (I4). A routine operation: it is what happens when
``index/`` is deleted, damaged, or made by another version.

The journal is the truth: for each key the record with the highest sequence number stands, a tombstone
removes. A record whose root object is missing is left out (I2) and counted. Records that do not carry this
user's tag come from elsewhere (an unpacked archive, another user): they are kept, marked foreign, and decoded
without running code.
"""

from __future__ import annotations

from scalable_cas.errors import CorruptObject, ObjectNotFound, ObjectUnreadable
from scalable_cas.format import record as records
from scalable_cas.format import rows
from scalable_cas.format.header import CHUNKED, HEADER_BYTES, Header
from scalable_cas.format.pack import read_table
from scalable_cas.storage.journal import SegmentFault
from scalable_cas.storage.reading import own_header
from scalable_cas.store.publishing import ref_row
from scalable_cas.store.trust import signer_of_origin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from scalable_cas.format.record import Record
    from scalable_cas.storage.index import Changes, Index
    from scalable_cas.storage.journal import Journal
    from scalable_cas.storage.loose import LooseObjects
    from scalable_cas.storage.objects import Objects
    from scalable_cas.storage.packs import Packs

_BATCH = 2000  # rows per write transaction: some ms, which is how long a neighbour may have to wait


class Rebuilt:
    """What a rebuild found: counts of ``entries``, ``objects``, entries whose object is ``missing``,
    ``foreign`` entries, and the journal's ``faults``.
    """

    def __init__(self) -> None:
        self.entries = 0
        self.objects = 0
        self.missing = 0
        self.foreign = 0
        self.faults: list[SegmentFault] = []


def fill_index(
    index: Index,
    journal: Journal,
    objects: Objects,
    *,
    adopt: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Rebuilt:
    """Empty the index and fill it from files. ``adopt`` takes foreign records over as the user's own;
    ``progress`` is told the number of rows written.

    Others may go on storing meanwhile: what they publish after the journal was read is added at the end, and
    a row that is there already stays unless the journal has a newer one. Times of use and counters are kept.

    Raises:
        StoreReadOnly, StoreBusy: the index cannot be written. It is then known to be unfinished, and the next
            process to open it begins again.
    """
    result = Rebuilt()
    filling = _Filling(index, objects, result, adopt=adopt, progress=progress)
    first = _replay(journal, result)
    index.write(filling.empty)
    filling.put_objects()
    filling.put_entries(first, first.entries)
    last = _replay(journal, Rebuilt()) if index.number("sequence") > first.highest else first
    filling.put_entries(
        last, {key: found for key, found in last.entries.items() if found != first.entries.get(key)}
    )
    if (
        adopt
    ):  # the user's tag goes on the records themselves, or the next rebuild would call them foreign again
        foreign = [_adopted(record).pack() for record, own in last.entries.values() if not own]
        with index.environment.locked():
            if foreign:
                journal.append(foreign, sync=True)
    index.write(lambda changes: filling.finish(changes, last))
    return result


class _Filling:
    """One run of `fill_index`."""

    def __init__(
        self,
        index: Index,
        objects: Objects,
        result: Rebuilt,
        *,
        adopt: bool,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._index = index
        self._objects = objects
        self._result = result
        self._adopt = adopt
        self._progress = progress

    def empty(self, changes: Changes) -> None:
        """Empty the tables that are filled here, and say that they are not complete."""
        changes.set_number("filled", 0)
        changes.clear("refs", "records", "objects", "functions", "files")

    def finish(self, changes: Changes, journaled: _Journaled) -> None:
        """Pins; go on counting where the journal stopped; say that all is there."""
        for target, record in journaled.pins.items():
            (changes.pin if record.type == records.PIN else changes.unpin)(target)
        changes.set_number("sequence", max(journaled.highest, changes.number("sequence")))
        changes.set_number("filled", 1)

    def put_objects(self) -> None:
        """A row for each object whose header can be read, loose or in a pack; `verify` names the others."""
        loose = self._objects.loose
        self._put_objects((oid, _loose(loose, oid)) for oid in loose.names())
        for name in self._objects.packs.names():
            self._put_objects(_packed(self._objects.packs, name))

    def _put_objects(self, found: Iterable[tuple[bytes, _Spot | None]]) -> None:
        batch: list[tuple[bytes, _Spot]] = []
        for oid, spot in found:
            if spot is not None:
                batch.append((oid, spot))
            if len(batch) == _BATCH:
                self._put_batch(batch)
                batch = []
        self._put_batch(batch)

    def _put_batch(self, batch: list[tuple[bytes, _Spot]]) -> None:
        if not batch:
            return

        def change(changes: Changes) -> None:
            for oid, (head, pack, offset) in batch:
                # Else a neighbour has named it since, or it is there twice. Of two forms of a blob the one
                # that is no list counts: the blob may be a chunk of another, which must not be a list.
                row = changes.object_row(oid)
                if row is None or row.coding == CHUNKED != head.coding:
                    # the present epoch: a collector that began before must not take what was named meanwhile
                    epoch, stored = changes.number("epoch"), HEADER_BYTES + head.stored_size
                    changes.put_object(
                        oid,
                        rows.pack_object(head.kind, head.coding, head.raw_size, stored, epoch, pack, offset),
                    )
                    self._result.objects += row is None

        self._index.write(change)
        self._tell()

    def put_entries(self, journaled: _Journaled, latest: dict[bytes, tuple[Record, bool]]) -> None:
        """The rows of each entry whose root object is there; what was forgotten goes."""
        self._journaled = journaled
        found = list(latest.values())
        for at in range(0, len(found), _BATCH):
            batch = found[at : at + _BATCH]
            self._index.write(lambda changes, batch=batch: self._put_entries(changes, batch))  # type: ignore[misc]
            self._tell()

    def _put_entries(self, changes: Changes, batch: list[tuple[Record, bool]]) -> None:
        for record, own in batch:
            if self._journaled.is_cleared(record):
                continue
            if record.type == records.TOMBSTONE:
                there = changes.record(record.rowkey)
                if there is not None and there.sequence < record.sequence:
                    changes.drop_entry(record.rowkey)
                continue
            candidates = [(record, own)]
            if changes.ref(record.rowkey) is None:
                candidates += self._journaled.before(record.rowkey)
            else:  # written by others since the index was emptied, or here, before the journal was read again
                there = changes.record(record.rowkey)
                if there is None or there.sequence >= record.sequence:
                    continue
            if not any(
                self._put_entry(changes, _adopted(item) if self._adopt and not mine else item)
                for item, mine in candidates
            ):
                self._result.missing += 1

    def _put_entry(self, changes: Changes, record: Record) -> bool:
        place = self._objects.place(record.oid)
        if place is None:
            return False
        content: bytes | memoryview = bytes(rows.INLINE_BYTES + 1)  # too long to be copied into the row
        if record.size <= rows.INLINE_BYTES:
            try:
                content = self._objects.get(record.oid, largest=rows.INLINE_BYTES)[1]
            except (ObjectNotFound, CorruptObject, ObjectUnreadable):
                pass  # the row is written without a copy; the first read of it finds the damage
        # with an origin it came from elsewhere; then either nobody here checked it, or its signer is known
        flags, signer = rows.FOREIGN if record.origin else 0, signer_of_origin(record.origin)
        row = ref_row(self._index.secret, record, place, content, flags, signer)
        changes.put_entry(record, record.pack(), row)
        self._result.foreign += record.origin == records.FOREIGN
        self._result.entries += 1
        return True

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self._result.objects + self._result.entries)


class _Journaled:
    """What the journal says in the end: each entry's last (record, own), pins, the highest sequence."""

    def __init__(self) -> None:
        self.entries: dict[bytes, tuple[Record, bool]] = {}
        self._more: dict[bytes, list[tuple[Record, bool]]] = {}  # of keys that were stored more than once
        self._cleared: dict[bytes, int] = {}  # function id -> sequence of the last time that all of it went
        self.pins: dict[bytes, Record] = {}
        self.highest = 0

    def add(self, record: Record, *, own: bool) -> None:
        """Take one more record into account."""
        self.highest = max(self.highest, record.sequence)
        if not own:
            record.origin = records.FOREIGN  # what that journal says of signatures, nobody here has checked
        elif record.origin == records.FOREIGN:
            own = False  # we wrote it down anew when its journal was mended, which did not make it ours
        if record.type in (records.PIN, records.UNPIN):
            pinned = self.pins.get(record.pin_target)
            if pinned is None or record.sequence >= pinned.sequence:
                self.pins[record.pin_target] = record
            return
        if record.type == records.TOMBSTONE and record.key == records.EVERY_KEY:
            self._cleared[record.fnid] = max(record.sequence, self._cleared.get(record.fnid, 0))
            return
        before = self.entries.get(record.rowkey)
        if before is not None:
            self._more.setdefault(record.rowkey, [before]).append((record, own))
        # of two copies of one record, that with our own tag stands: the other is from before it was adopted
        if before is None or _order(record, own=own) >= _order(before[0], own=before[1]):
            self.entries[record.rowkey] = (record, own)

    def is_cleared(self, record: Record) -> bool:
        """Whether everything of its function, or of all functions, was forgotten after it was stored."""
        cleared = self._cleared
        last = max(cleared.get(record.fnid, 0), cleared.get(records.NO_FUNCTION, 0))
        return record.type == records.REF and record.sequence < last

    def before(self, rowkey: bytes) -> list[tuple[Record, bool]]:
        """What the last record of a key replaced, newest first, back to where it was forgotten. It still
        stands where the last one never took effect: its writer was killed, or its commit failed, after the
        journal was written, and gc took its object.
        """
        found = sorted(
            self._more.get(rowkey, ()), key=lambda item: _order(item[0], own=item[1]), reverse=True
        )
        stands = (item[0].type == records.REF and not self.is_cleared(item[0]) for item in found)
        forgotten = next((at for at, whole in enumerate(stands) if not whole), len(found))
        return found[1:forgotten]


_Spot = tuple[Header, bytes, int]  # header, pack or nothing, offset in it


def _loose(objects: LooseObjects, oid: bytes) -> _Spot | None:
    try:
        return objects.head(oid), b"", 0
    except (ObjectNotFound, CorruptObject, ObjectUnreadable):
        return None


def _packed(packs: Packs, name: bytes) -> Iterator[tuple[bytes, _Spot | None]]:
    """The objects of a pack: from its table, or where that is damaged from the objects themselves."""
    try:
        data = packs.load(name)
    except (FileNotFoundError, ObjectUnreadable):
        return
    for member in read_table(data):
        try:
            head = own_header(member.oid, data[member.offset : member.offset + HEADER_BYTES])
        except CorruptObject:
            continue
        if HEADER_BYTES + head.stored_size == member.length:
            yield member.oid, (head, name, member.offset)


def _adopted(record: Record) -> Record:
    """A record that nobody here vouched for, made the user's own."""
    record.origin = ""
    return record


def _order(record: Record, *, own: bool) -> tuple[int, int, bool]:
    return record.sequence, record.created, own


def _replay(journal: Journal, result: Rebuilt) -> _Journaled:
    found = _Journaled()
    for path in journal.segments():
        for item in journal.read(path):
            if isinstance(item, SegmentFault):
                result.faults.append(item)
            else:
                found.add(item[0], own=item[1])
    return found
