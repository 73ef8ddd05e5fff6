"""Take results that came from elsewhere into a store: objects first, then records. Keeps I1, I2, I3 and I7.

One way in for everything that was not computed here, whether it was pulled or came in a bundle:

1. `Arrivals.put` checks each object and gives it its name, without a lock, remembering the gc epoch.
2. `ingest` looks up what each record needs, down to the last object, and makes the files safe from a power
   cut.
3. Under the write lock: if a collector was at work since (another epoch), each object is looked for again; a
   record whose objects are all in place gets its rows and its frame in the journal. What a collector took
   meanwhile is reported as lost: put it again, and call `ingest` again.

What a record says of itself is not believed. Its origin is the signer whose signature was checked, or
nobody; it is foreign, however it came, so that its pickle is decoded only for a signer in the user's trust
list (`store.trust`), asked when it is read. An entry that was made here is never replaced or removed by one
that came from elsewhere.
"""

from __future__ import annotations

from scalable_cas import clock
from scalable_cas.errors import CorruptObject, ObjectNotFound
from scalable_cas.format import record as records
from scalable_cas.format import rows
from scalable_cas.store import trust
from scalable_cas.store.arrivals import Arrivals
from scalable_cas.store.publishing import ref_row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from scalable_cas.format.record import Record
    from scalable_cas.storage.index import Changes
    from scalable_cas.store.core import StoreCore

    #: The (kind, name) of what an object names: `ops.closure.children` for the objects of the store.
    Children = Callable[[int, bytes], Iterable[tuple[int, bytes]]]

__all__ = ["Arrivals", "Ingested", "ingest", "is_wanted"]

#: Records under one lock: about 60 ms, which is how long a neighbour may have to wait. Each lock costs two
#: flushes.
BATCH = 2000


class Ingested:
    """What an `ingest` did: counts of entries that are ``new`` here, were ``known`` (there is one that
    stays), ``forgotten`` (tombstones), ``refused`` (they do not fit their objects, or are no results).
    ``incomplete``: the row keys of entries that were left out because an object is not in place; ``lost``:
    the names of such objects, which were never put, were taken by a collector, or are damaged. Put those and
    ingest again.
    """

    def __init__(self) -> None:
        self.new = 0
        self.known = 0
        self.forgotten = 0
        self.refused = 0
        self.lost: set[bytes] = set()
        self.incomplete: list[bytes] = []

    def add(self, more: Ingested) -> None:
        """Count what another ingest did, too."""
        self.new += more.new
        self.known += more.known
        self.forgotten += more.forgotten
        self.refused += more.refused
        self.lost |= more.lost
        self.incomplete += more.incomplete


class _Item:
    """A record with what it needs: the names of all its objects."""

    __slots__ = ("needs", "origin", "record", "signer")

    def __init__(self, record: Record, origin: str, needs: list[bytes]) -> None:
        self.record = record
        self.origin = origin
        self.signer = trust.signer_of_origin(origin)
        self.needs = needs


def ingest(
    store: StoreCore,
    found: Sequence[tuple[Record, str]],
    arrivals: Arrivals,
    children: Children,
    progress: Callable[[int], None] | None = None,
) -> Ingested:
    """Take (record, origin) into the store; the origin is that of the checked signature
    (`format.record.origin_of`). ``progress`` is told how many are done. Doing it again changes nothing.

    Raises:
        StoreReadOnly, StoreBusy, IndexDamaged: it cannot be written; what was done so far is whole.
        ObjectUnreadable: the system would not let us read an object that was in the store already.
    """
    result = Ingested()
    store.flush()
    result.lost |= arrivals.settle()
    arrivals.sync()
    closures: dict[bytes, list[bytes] | None] = {}
    for at in range(0, len(found), BATCH):
        batch = []
        for record, origin in found[at : at + BATCH]:
            item = _item(record, origin, arrivals, children, closures, result)
            if item is not None:
                batch.append(item)
        _commit(store, batch, arrivals, result)
        if progress is not None:
            progress(min(at + BATCH, len(found)))
    store.objects.expected.clear()  # the index knows now; what is left of another thread's is only a hint
    return result


def _item(
    record: Record,
    origin: str,
    arrivals: Arrivals,
    children: Children,
    closures: dict[bytes, list[bytes] | None],
    result: Ingested,
) -> _Item | None:
    """A record that can be taken, with its closure; None if it cannot."""
    if record.key == records.EVERY_KEY or record.fnid == records.NO_FUNCTION:
        # A tombstone of these would take everything of a function, or of all, when the index is rebuilt; and
        # there may not be an entry for which somebody could send one.
        result.refused += 1
        return None
    if record.type == records.TOMBSTONE:
        return _Item(record, origin, [])
    if record.type != records.REF:
        result.refused += 1  # pins are everybody's own
        return None
    root = arrivals.fact(record.oid)
    if root is not None and (root.kind != record.kind or root.size != record.size):
        result.refused += 1
        return None
    if record.oid not in closures:
        closures[record.oid] = _closure(record.oid, arrivals, children, result.lost)
    needs = closures[record.oid]
    if needs is None:
        result.incomplete.append(record.rowkey)
        return None
    return _Item(record, origin, needs)


def _closure(root: bytes, arrivals: Arrivals, children: Children, lost: set[bytes]) -> list[bytes] | None:
    """The names of an object and of all that it needs; None if any is not there, which is then ``lost``."""
    found: dict[bytes, None] = {}
    queue = [root]
    while queue:
        oid = queue.pop()
        if oid in found:
            continue
        fact = arrivals.fact(oid)
        try:
            if fact is not None and fact.children is None:
                fact.children = tuple(name for _, name in children(fact.kind, oid))
        except (ObjectNotFound, CorruptObject):
            arrivals.drop(oid)
            fact = None
        if fact is None or fact.children is None:
            lost.add(oid)
            return None
        found[oid] = None
        queue.extend(fact.children)
    return list(found)


def _commit(store: StoreCore, batch: Collection[_Item], arrivals: Arrivals, result: Ingested) -> None:
    """Under the lock: objects, journal, rows of a batch."""
    if not batch:
        return
    counts = [0, 0, 0]  # new, known, forgotten
    lost: set[bytes] = set()
    incomplete: list[bytes] = []

    def change(changes: Changes) -> None:
        counts[:] = 0, 0, 0
        lost.clear()
        incomplete.clear()
        epoch, again = changes.settle_epoch(arrivals.epoch)
        sequence = changes.next_number("sequence")
        journaled: list[bytes] = []
        seen: set[bytes] = set()
        for item in batch:
            if item.record.type == records.TOMBSTONE:
                counts[2] += _forget(changes, item, sequence, journaled)
                continue
            if not is_wanted(store, changes.ref(item.record.rowkey), item.record, item.origin):
                counts[1] += 1
                continue
            if not _name_objects(changes, item.needs, arrivals, epoch, seen, lost, again=again):
                incomplete.append(item.record.rowkey)
                continue
            journaled.append(_put_entry(store, changes, item, arrivals, sequence))
            counts[0] += 1
        if journaled:
            store.journal.append(journaled, sync=True)

    store.index.write(change)
    result.new += counts[0]
    result.known += counts[1]
    result.forgotten += counts[2]
    result.lost |= lost
    result.incomplete.extend(incomplete)


def is_wanted(store: StoreCore, row: bytes | None, record: Record, origin: str) -> bool:
    """Whether a record from elsewhere would take the place of what the index has (``row``, or None).

    What was made here stays, as long as its object does. Of two that came from elsewhere the first stays,
    unless the other's signer is trusted and its own is not (else whoever comes first could keep everybody
    from a result), or both have one signer, who is known, and the other is younger, but not of the future.
    """
    if row is None or len(row) < rows.REF_FIXED:
        return True
    fields = rows.REF.unpack_from(row)
    if store.objects.place(fields[11]) is None:
        return True
    if not fields[1] & rows.FOREIGN:
        return False
    before = records.origin_of(rows.signer_of(row))
    created: int = fields[6]
    if before == origin:
        return origin != records.UNSIGNED and created < record.created <= clock.now_ns()
    return trust.is_trusted(origin) and not trust.is_trusted(before)


def _forget(changes: Changes, item: _Item, sequence: int, journaled: list[bytes]) -> int:
    """A tombstone from elsewhere takes what its own signer sent before, and nothing else."""
    rowkey = item.record.rowkey
    row = changes.ref(rowkey)
    if row is None or len(row) < rows.REF_FIXED or not item.signer or rows.signer_of(row) != item.signer:
        return 0
    if rows.REF.unpack_from(row)[6] > item.record.created:
        return 0
    stone = records.tombstone(rowkey, item.record.function, created=item.record.created, sequence=sequence)
    journaled.append(stone.pack())
    return changes.drop_entry(rowkey)


def _name_objects(
    changes: Changes,
    needs: list[bytes],
    arrivals: Arrivals,
    epoch: int,
    seen: set[bytes],
    lost: set[bytes],
    *,
    again: bool,
) -> bool:
    """Write the rows of what an entry needs, with the present epoch, so that no collector takes it; False if
    something is not there any more.
    """
    facts = []
    for oid in needs:
        if oid in seen:
            continue
        fact = None if oid in lost else (arrivals.look_again(oid) if again else arrivals.fact(oid))
        if fact is None:
            lost.add(oid)
            return False
        facts.append((oid, fact))
    for oid, fact in facts:
        seen.add(oid)
        place = fact.place
        changes.put_object(
            oid,
            rows.pack_object(
                fact.kind, fact.coding, fact.size, place.stored, epoch, place.pack, place.offset
            ),
        )
    return True


def _put_entry(store: StoreCore, changes: Changes, item: _Item, arrivals: Arrivals, sequence: int) -> bytes:
    """The rows of one entry. Returns its record, for the journal."""
    record = item.record
    record.origin, record.sequence = item.origin, sequence
    record.created = min(record.created, clock.now_ns())  # what is of the future would never grow old
    packed = record.pack()
    root = arrivals.fact(record.oid)
    assert root is not None  # it was looked at under this lock
    row = ref_row(store.secret, record, root.place, root.content, rows.FOREIGN, item.signer)
    changes.put_entry(record, packed, row)
    return packed
