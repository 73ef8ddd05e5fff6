"""What a push would send: the entries that the remote lacks, and of their objects those that it lacks.
Changes nothing there, and here only the view.

An entry that was made here is lacking also where the remote has one of a signer who is not trusted here:
whoever trusts this user, and not that one, has no use for it. Else whoever pushes first, be it an enemy,
could keep all others from a result.
"""

from __future__ import annotations

from typing import NamedTuple

from scalable_cas.errors import CorruptObject, ObjectNotFound, ObjectUnreadable
from scalable_cas.format import record as records
from scalable_cas.format import rows
from scalable_cas.format.header import HEADER_BYTES
from scalable_cas.ops.transfer.reach import Reach
from scalable_cas.store import trust

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scalable_cas.ops.transfer.repository import Repository
    from scalable_cas.ops.transfer.view import View
    from scalable_cas.storage.index import Index
    from scalable_cas.storage.objects import Objects
    from scalable_cas.store.core import StoreCore

#: Entries and bytes that are committed together. What an interrupted push has committed stays; a segment
#: costs every reader a request.
BATCH_ENTRIES, BATCH_BYTES = 20_000, 512 << 20
#: Entries that are looked up together.
LOOKUP = 1000


class Wanted(NamedTuple):
    """An object to send: sizes in bytes, ``stored`` with its header; ``pack``: where it lies here, b"" if in
    a file of its own.
    """

    oid: bytes
    kind: int
    coding: int
    size: int
    stored: int
    pack: bytes


class Outgoing(NamedTuple):
    """An entry to send: its row key, its root, whether it came from elsewhere itself, whether it is to be
    signed, and its closure.
    """

    rowkey: bytes
    oid: bytes
    foreign: bool
    signed: bool
    closure: tuple[bytes, ...]


class Batch(NamedTuple):
    """What is committed together."""

    entries: tuple[Outgoing, ...]
    wanted: tuple[Wanted, ...]


class PushPlan(NamedTuple):
    """What a push would do. ``present``: entries that are there already; ``withheld``: those that came from
    somebody whom this user does not trust; ``broken``: those that lack an object here (row keys);
    ``damaged``: objects that are sent again because they were found missing or damaged there.
    """

    batches: tuple[Batch, ...]
    present: int
    withheld: int
    broken: tuple[bytes, ...]
    damaged: int

    @property
    def entries(self) -> int:
        """Entries to send."""
        return sum(len(batch.entries) for batch in self.batches)

    @property
    def objects(self) -> int:
        """Objects to send."""
        return sum(len(batch.wanted) for batch in self.batches)

    @property
    def bytes(self) -> int:
        """Bytes of these objects as they are sent; records come on top."""
        return sum(item.stored for batch in self.batches for item in batch.wanted)


def plan_push(repository: Repository, functions: Sequence[bytes] | None = None) -> PushPlan:
    """Plan a push of the entries of some functions (ids of 8 bytes), or of all.

    Raises:
        RemoteError, StoreReadOnly, StoreBusy: the view cannot be brought up to date.
    """
    store = repository.store
    store.flush()
    repository.refresh()
    planning = _Planning(store, repository.view)
    fnids: Sequence[bytes] = (b"",) if functions is None else sorted(functions)
    new = [item for fnid in fnids for item in planning.new_entries(fnid)]
    # in the order in which they were stored: what an interrupted push has sent is then sent no other way
    new.sort(key=lambda item: (item[0], item[1]))
    for at in range(0, len(new), LOOKUP):
        planning.add([(rowkey, row) for _, rowkey, row in new[at : at + LOOKUP]])
    damaged = planning.add_damaged() if functions is None else 0
    planning.close_batch()
    return PushPlan(
        tuple(planning.batches), planning.present, planning.withheld, tuple(planning.broken), damaged
    )


def plan_entries(repository: Repository, rowkeys: Sequence[bytes]) -> PushPlan:
    """Plan a push of some entries, by the view as it is."""
    planning = _Planning(repository.store, repository.view)
    index = repository.store.index
    for at in range(0, len(rowkeys), LOOKUP):
        planning.add_new(rowkeys[at : at + LOOKUP], index)
    planning.close_batch()
    return PushPlan(tuple(planning.batches), planning.present, planning.withheld, tuple(planning.broken), 0)


class _Planning:
    """A push that is being planned."""

    def __init__(self, store: StoreCore, view: View) -> None:
        self._store = store
        self._view = view
        self._reach = Reach(store)
        self._there: set[bytes] = set(view.sent())  # objects that are there, or will be
        self._entries: list[Outgoing] = []
        self._wanted: list[Wanted] = []
        self._bytes = 0
        self.batches: list[Batch] = []
        self.present = 0
        self.withheld = 0
        self.broken: list[bytes] = []

    def new_entries(self, fnid: bytes) -> Iterator[tuple[int, bytes, bytes]]:
        """Created, row key and row of the entries here that the remote lacks, or has no such result of."""
        found = self._view.entries(fnid)
        there = next(found, None)
        for rowkey, row in self._store.index.scan("refs", fnid):
            while there is not None and there[0] < rowkey:
                there = next(found, None)
            if len(row) < rows.REF_FIXED:
                continue
            if there is not None and there[0] == rowkey and _serves(row, *there[1:]):
                self.present += 1
            else:
                yield rows.REF.unpack_from(row)[6], rowkey, row

    def add_new(self, rowkeys: Sequence[bytes], index: Index) -> None:
        """Plan to send those of some entries that are here, and that the remote lacks or has no such result
        of.
        """
        new = []
        for rowkey in rowkeys:
            row, there = index.ref(rowkey), self._view.lookup(rowkey)
            if row is None or len(row) < rows.REF_FIXED:
                continue
            if there is not None:
                _, _, oid, created, _ = records.brief(there[1])
                if _serves(row, created, oid, trust.is_trusted(there[0])):
                    self.present += 1
                    continue
            new.append((rowkey, row))
        self.add(new)

    def add(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Plan to send some entries (row key and row)."""
        chosen = []
        for rowkey, row in entries:
            foreign = bool(row[rows.FLAGS_AT] & rows.FOREIGN)
            if foreign and trust.refusal_of(self._store, rowkey) is not None:
                self.withheld += 1
                continue
            signed = not foreign or self._may_vouch(rowkey)
            try:
                closure = self._reach.entry(rowkey, row)
            except (ObjectNotFound, CorruptObject, ObjectUnreadable):
                self.broken.append(rowkey)
                continue
            chosen.append(Outgoing(rowkey, closure[-1], foreign, signed, closure))
        lacking = self._lacking([oid for entry in chosen for oid in entry.closure])
        for entry in chosen:
            new = [(oid, lacking[oid]) for oid in entry.closure if oid in lacking]
            found = [item for _, item in new if item is not None]
            if len(found) < len(new):
                self.broken.append(entry.rowkey)
                continue
            for oid, _ in new:
                del lacking[oid]
            self._entries.append(entry)
            self._add_wanted(found)

    def _add_wanted(self, wanted: list[Wanted]) -> None:
        self._wanted += wanted
        self._there.update(item.oid for item in wanted)
        self._bytes += sum(item.stored for item in wanted)
        if len(self._entries) >= BATCH_ENTRIES or self._bytes >= BATCH_BYTES:
            self.close_batch()

    def close_batch(self) -> None:
        """What was planned so far is committed before the rest."""
        if self._entries or self._wanted:
            self.batches.append(Batch(tuple(self._entries), tuple(self._wanted)))
        self._entries, self._wanted, self._bytes = [], [], 0

    def add_damaged(self) -> int:
        """Plan to send again what was found missing or damaged there, as far as it is here; returns how many
        objects that are.
        """
        damaged = self._view.damaged()
        lost = sorted(damaged.keys() - self._view.has_all(sorted(damaged)) - self._there)
        wanted = [item for item in facts(self._store.objects, lost).values() if item is not None]
        self._add_wanted(wanted)
        return len(wanted)

    def _may_vouch(self, rowkey: bytes) -> bool:
        """Whether an entry from elsewhere may be sent on with this user's signature. That vouches for it
        before those who trust him, and may want signatures for plain data too: so he must trust its signer.
        Plain data of others is copied as nobody's.
        """
        row, record = self._store.index.entry(rowkey)
        if row is None or record is None:
            return False
        return trust.is_trusted(trust.foreign_origin(row, record.origin))

    def _lacking(self, oids: Sequence[bytes]) -> dict[bytes, Wanted | None]:
        """Those of some objects that the remote lacks and that are not planned yet; None: it is not here
        either.
        """
        unknown = list(dict.fromkeys(oid for oid in oids if oid not in self._there))
        there = self._view.has_all(unknown)
        self._there |= there
        return facts(self._store.objects, [oid for oid in unknown if oid not in there])


def _serves(row: bytes, created: int, oid: bytes, trusted: bool) -> bool:
    """Whether what the remote has of a key does as well as the entry here (its row): the same result or a
    younger one, of somebody who is trusted unless this one came from elsewhere itself. Or this very entry:
    sent with another key, which the user had before.
    """
    fields = rows.REF.unpack_from(row)
    if (created, oid) == (fields[6], fields[11]):
        return True
    as_good = oid == fields[11] or (created, oid) > (fields[6], fields[11])
    return as_good and (trusted or bool(fields[1] & rows.FOREIGN))


def facts(objects: Objects, oids: Sequence[bytes]) -> dict[bytes, Wanted | None]:
    """What is to be known of objects before they are sent; None of one that is not here."""
    known = objects.known(oids)
    found: dict[bytes, Wanted | None] = {}
    for oid in oids:
        row = known.get(oid)
        if row is not None:
            found[oid] = Wanted(oid, row.kind, row.coding, row.size, row.stored, row.pack)
            continue
        try:
            head, place = objects.head(oid), objects.place(oid)
        except (ObjectNotFound, CorruptObject, ObjectUnreadable):
            found[oid] = None
        else:
            pack = place.pack if place is not None else b""
            stored = HEADER_BYTES + head.stored_size
            found[oid] = Wanted(oid, head.kind, head.coding, head.raw_size, stored, pack)
    return found
