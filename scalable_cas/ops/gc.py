"""Garbage collection: a plan that touches nothing, and its execution, which is safe beside running writers.
See docs/explanation/gc.md.

The protocol (research: a publisher and a collector, model-checked; tests/model has the model):
1. objects are put without a lock; rows that name them appear only under the write lock;
2. the collector drops the planned entries, then in one locked step counts the *epoch* up, to an even number,
   and takes a snapshot of the refs;
3. it marks from that snapshot without the lock; an unreadable object stops it;
4. it sweeps under the lock, in small batches: first the rows go and the epoch becomes odd, then, still under
   our lock, the files go, then the epoch becomes even; packs that hold what has no row any more are written
   anew without it (store/moving.py), or removed;
5. an object that was named since step 2 carries a newer epoch and stays. A publisher that finds another epoch
   than before it put its objects, or an odd one, puts them again, under the lock.
No clock decides anything here, so a clock that jumps cannot lose data. Keeps I2 and I3; delete order: record,
then object.
"""

from __future__ import annotations

from contextlib import suppress

from scalable_cas import clock
from scalable_cas.errors import IndexDamaged, StoreFull
from scalable_cas.format import layout, rows
from scalable_cas.format.header import CHUNKED
from scalable_cas.format.kinds import BLOB, TREE
from scalable_cas.ops.closure import TREE_RANK, parents_first
from scalable_cas.ops.marking import mark
from scalable_cas.ops.policy import Eviction, Policy, choose
from scalable_cas.storage import fs
from scalable_cas.storage.drafts import leftovers, set_aside
from scalable_cas.store import ballast
from scalable_cas.store.folding import fold_if_many
from scalable_cas.store.moving import drop_copies, rewrite, shrinkage
from scalable_cas.store.rebuild import fill_index

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from scalable_cas.storage.index import Changes
    from scalable_cas.store.core import StoreCore

#: Objects deleted under one lock: 200 unlinks take some ms, which is how long a writer may have to wait.
SWEEP_BATCH = 200
#: Entries forgotten in one transaction.
FORGET_BATCH = 1000
#: Segments of dead processes that are tolerated before they are folded into one: each costs a reader an open.
MOST_SEGMENTS = 16
#: Unfinished files of living processes and damaged files in quarantine are kept this long (seconds): a day
#: outlives any write, a month any investigation.
DRAFT_SECONDS, QUARANTINE_SECONDS = 24 * 3600, 30 * 24 * 3600

__all__ = ["Eviction", "GcPlan", "GcResult", "Policy", "execute", "plan_gc"]


class GcPlan:
    """What a collection would do: ``entries`` to drop (with reasons), unreachable ``objects`` and their
    ``bytes`` on disk, ``seconds`` of computing that the entries stand for, unfinished files in ``drafts``.

    A plan is a picture of one moment. `execute` drops only entries that are still as they were, and finds the
    objects anew.
    """

    __slots__ = ("bytes", "drafts", "entries", "objects", "seconds")

    def __init__(
        self, entries: tuple[Eviction, ...], objects: int, size: int, drafts: tuple[str, ...]
    ) -> None:
        self.entries = entries
        self.objects = objects
        self.bytes = size
        self.seconds = sum(item.seconds for item in entries)
        self.drafts = drafts

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(self, name):
            raise AttributeError("a plan does not change")
        object.__setattr__(self, name, value)


class GcResult:
    """What a collection did: counts of ``entries`` and ``objects`` removed, ``bytes`` freed, ``drafts``
    removed.
    """

    def __init__(self) -> None:
        self.entries = 0
        self.objects = 0
        self.bytes = 0
        self.drafts = 0


def plan_gc(store: StoreCore, policy: Policy) -> GcPlan:
    """Plan a collection. Changes nothing.

    Raises:
        StoreVersionError: the store uses a feature that gc must know.
        ObjectNotFound, CorruptObject, ObjectUnreadable: an object cannot be read; ``verify --repair`` first.
    """
    store.format.check("gc", store.root)
    store.flush()
    evicted = choose(store, policy)
    dropped = frozenset(item.rowkey for item in evicted)
    marked = mark(store, store.index.scan("refs"), store.index.pins(), dropped)
    dead = [oid for oid in store.objects.names() if oid not in marked]
    size = sum(seen.st_size for oid in dead if (seen := store.objects.loose.stat(oid)) is not None)
    size += sum(shrinkage(store, name, frozenset(dead), planned=True) for name in store.objects.packs.names())
    return GcPlan(evicted, len(dead), size, tuple(_drafts(store)))


def execute(
    store: StoreCore, plan: GcPlan, progress: Callable[[str, int, int], None] | None = None
) -> GcResult:
    """Carry out a plan; ``progress(stage, done, total)`` is called now and then.

    Raises:
        StoreReadOnly, StoreBusy, IndexDamaged: the store cannot be written; what was done so far is whole.
        ObjectNotFound, CorruptObject, ObjectUnreadable: marking met a broken object; no object was deleted.
    """
    result = GcResult()
    for path in plan.drafts:  # first: it takes no space
        result.drafts += _remove_draft(path)
    while True:
        full = _drop_entries(store, plan, result)
        before = result.bytes
        _collect(store, progress, result)
        if full is None:
            break
        if result.bytes <= before:  # no space for the rest of the entries, and none came back
            raise full
    with suppress(StoreFull):  # tidying can wait
        _compact(store, dropped=result.entries)
        fold_if_many(store)
    ballast.keep(store.root)
    return result


def _collect(store: StoreCore, progress: Callable[[str, int, int], None] | None, result: GcResult) -> None:
    """Remove the objects that nothing reaches."""
    if store.index_is_local:  # other nodes store here too, and what they stored is in the journal only
        fill_index(store.index, store.journal, store.objects)
    condemned, epoch = ballast.with_room(store.root, lambda: _condemned(store, progress))
    done = 0

    def sweep(batch: Sequence[bytes], _last: bool) -> None:
        nonlocal done
        _sweep(store, batch, epoch, result)
        done += len(batch)
        if progress is not None:
            progress("sweep", done, len(condemned))

    if condemned:
        ballast.in_batches(store.root, condemned, sweep, SWEEP_BATCH)
    _sweep_packs(store, frozenset(condemned), result)


def _drop_entries(store: StoreCore, plan: GcPlan, result: GcResult) -> StoreFull | None:
    """Forget the planned entries that were neither stored anew nor pinned since the plan was made. Returns
    what stopped it, if the disk is full: then what can be is to be freed first.
    """
    # the oldest first: if it stops in between, whole packs have become needless, whose removal takes no space
    created = {item.rowkey: item.created for item in sorted(plan.entries, key=lambda item: item.created)}

    def still(changes: Changes, rowkey: bytes) -> bool:
        row = changes.ref(rowkey)
        same = row is not None and rows.REF.unpack_from(row)[6] == created[rowkey]
        return same and not changes.is_pinned(rowkey)

    planned = [rowkey for rowkey in created if store.index.ref(rowkey) is not None]
    for at in range(0, len(planned), FORGET_BATCH):
        batch = planned[at : at + FORGET_BATCH]
        try:
            result.entries += store.forget(batch, still=still)
        except StoreFull as error:
            result.entries += sum(store.index.ref(rowkey) is None for rowkey in batch)
            return error
    return None


def _condemned(store: StoreCore, progress: Callable[[str, int, int], None] | None) -> tuple[list[bytes], int]:
    """Steps 2 and 3: the objects that nothing reached, and the epoch from which on naming one saves it."""
    epoch = 0

    def next_epoch(changes: Any) -> None:
        nonlocal epoch
        _require_whole(store, changes)
        before = changes.number("epoch")
        epoch = before + 2 - before % 2
        changes.set_number("epoch", epoch)

    total = store.index.count("refs")
    with store.index.write_and_hold(next_epoch) as snapshot:
        refs = snapshot.cursor(db=store.index.environment.db["refs"])
        pins = [key for key, _ in snapshot.cursor(db=store.index.environment.db["pins"])]
        marked = mark(
            store,
            iter(refs),
            pins,
            progress=None if progress is None else lambda done: progress("mark", done, total),
        )
        known = {
            oid: _rank(rows.object_row(row))
            for oid, row in snapshot.cursor(db=store.index.environment.db["objects"])
        }
    for oid in store.objects.names():
        known.setdefault(oid, 0)
    if store.index_is_local:  # and what they are about to name is not even there: no lock is common
        oldest = clock.now_ns() / 1e9 - DRAFT_SECONDS
        marked.update(oid for oid in known.keys() - marked if _younger(store, oid, oldest))
    return parents_first(store.objects, {oid: known[oid] for oid in known.keys() - marked}), epoch


def _rank(row: rows.ObjectRow | None) -> int:
    """In which order objects go: what may have children before them. A file without a row is of unknown kind,
    and was named by nobody, so it may be the parent of any.
    """
    if row is None or row.kind not in (BLOB, TREE):
        return 0
    if row.kind == TREE:
        return TREE_RANK
    return 2 if row.coding == CHUNKED else 3


def _younger(store: StoreCore, oid: bytes, since: float) -> bool:
    place = store.objects.place(oid)
    return place is not None and place.changed > since * 1e9


def _sweep(store: StoreCore, batch: Sequence[bytes], epoch: int, result: GcResult) -> None:
    """Steps 4 and 5 for some objects."""
    doomed: list[bytes] = []

    def change(changes: Any) -> None:
        _require_whole(store, changes)
        doomed.clear()
        for oid in batch:
            row = changes.object_row(oid)
            if (row is None or row.epoch < epoch) and not changes.is_pinned(oid):
                doomed.append(oid)
                changes.drop_object(oid)
        before = changes.number("epoch")
        changes.set_number("epoch", before + 1 + before % 2)

    with store.index.environment.locked():
        store.index.write(change)
        for oid in doomed:
            seen = store.objects.loose.stat(oid)
            if seen is not None and store.objects.loose.delete(oid):
                result.objects += 1
                result.bytes += seen.st_size
        store.index.write(lambda changes: changes.next_number("epoch"))


def _sweep_packs(store: StoreCore, condemned: frozenset[bytes], result: GcResult) -> None:
    """Step 4 for packs, those first that need the least space: what goes as a whole needs none. And what lies
    there twice, after a kill in the midst of a move.
    """
    packs = store.objects.packs
    oldest = clock.now_ns() / 1e9 - DRAFT_SECONDS if store.index_is_local else float("inf")
    found = []
    for name in packs.names():
        seen = packs.stat(name)
        if seen is None or seen.st_mtime >= oldest:
            continue
        less = shrinkage(store, name, condemned)
        if less or not seen.st_size:  # one that was cut down to nothing frees nothing, and goes all the same
            found.append((seen.st_size - less, name))
    for _, name in sorted(found):
        try:
            moved = rewrite(store, [name], dead=condemned)
        except StoreFull:
            if not result.bytes:
                raise
            break  # there is space now, for the next collection
        result.objects += moved.objects
        result.bytes += moved.bytes
    known = store.objects.known(list(store.objects.loose.names()) if packs.names() else [])
    result.bytes += drop_copies(store, [oid for oid, row in known.items() if row.pack]).bytes


def _require_whole(store: StoreCore, changes: Changes) -> None:
    """Refuse to collect by an index that is being filled: what is not in it yet would pass for garbage."""
    if not changes.number("filled"):
        raise IndexDamaged(store.index.path, "it is being rebuilt, or that was cut short")


def _drafts(store: StoreCore) -> list[str]:
    """Unfinished files of dead processes, and old files in quarantine."""
    now = clock.now_ns() / 1e9
    unfinished = leftovers(f"{store.root}/{layout.TMP}", now - DRAFT_SECONDS, local=not store.index_is_local)
    return unfinished + set_aside(f"{store.root}/{layout.QUARANTINE}", now - QUARANTINE_SECONDS)


def _remove_draft(path: str) -> bool:
    import os

    if os.path.isdir(path) and not os.path.islink(path):
        fs.remove_tree(path)
        return True
    return fs.remove(path)


def _compact(store: StoreCore, *, dropped: int) -> None:
    """Fold the segments of dead processes into one, leaving out what no longer counts. Keeps I4: the copy is
    safe before the originals go.

    A tombstone may only be left out when no other segment is left that could hold what it removes. Where
    other nodes have indexes of their own, ours cannot say what counts, and nothing is folded.
    """
    if store.index_is_local:
        return
    idle = store.journal.idle()
    if len(idle) < MOST_SEGMENTS and dropped * 2 < store.index.count("refs"):
        return
    with store.index.environment.locked():
        if not store.index.number(
            "filled"
        ):  # a neighbour empties it to fill it anew: it knows too little now
            return
        idle = store.journal.idle()
        everything = set(idle) == set(store.journal.segments())
        kept = store.journal.current(idle, store.index.record, tombstones=not everything)
        if kept is None:  # damage: leave the originals for a person to look at
            return
        if kept:
            store.journal.append([record.pack() for record in kept], sync=True)
        for path in idle:
            fs.remove(path)
