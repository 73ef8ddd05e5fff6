"""Fold small files into packs: many small objects, and many small packs, become few large ones (`repack`).

A store that many quick functions write to gets a pack for each commit. That costs nothing while objects are
read through the index; it costs a listing, a look at each table where the index is not asked, and the rest of
a block for each file. So files are folded when there are many: by `gc`, and a bounded piece of the work by a
process that wrote packs itself, when it ends.
"""

from __future__ import annotations

from scalable_cas import clock
from scalable_cas.errors import ScalableCasError
from scalable_cas.format import rows
from scalable_cas.format.header import HEADER_BYTES
from scalable_cas.storage.environment import FOLDER
from scalable_cas.storage.putting import PACKED_BYTES
from scalable_cas.store.moving import Moved, drop_copies, rewrite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scalable_cas.store.core import StoreCore

#: Bytes of a folded pack: what one upload carries well, and what is held in memory while one is written.
TARGET = 32 << 20
#: Loose small objects, and packs, from which on `gc` folds them: as git's gc.auto and gc.autoPackLimit.
MOST_LOOSE, MOST_PACKS = 4096, 50
#: Packs from which on a process that wrote some folds as it ends, and bytes that it folds at most: a tenth of
#: a second.
MOST_AT_CLOSE, CLOSE_BYTES = 4 * MOST_PACKS, 4 << 20
#: On a network file system other nodes may be about to name what is younger than this (seconds): as in gc.
YOUNG_SECONDS = 24 * 3600

Group = tuple[tuple[bytes, ...], tuple[bytes, ...]]  # packs, loose objects


class RepackPlan:
    """What a repack would do: ``groups`` of (packs, loose objects) that become one pack each; in all so many
    ``packs``, ``loose`` objects and ``bytes``. `execute` finds out anew what is needed of them.
    """

    __slots__ = ("bytes", "groups", "loose", "packs")

    def __init__(self, groups: tuple[Group, ...], size: int) -> None:
        self.groups = groups
        self.packs = sum(len(packs) for packs, _ in groups)
        self.loose = sum(len(loose) for _, loose in groups)
        self.bytes = size

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(self, name):
            raise AttributeError("a plan does not change")
        object.__setattr__(self, name, value)


def plan_repack(store: StoreCore) -> RepackPlan:
    """Plan a repack. Changes nothing.

    Raises:
        StoreVersionError: the store uses a feature that gc must know: files are removed.
    """
    store.format.check("gc", store.root)
    store.flush()
    groups: list[Group] = []
    total = 0
    packs: list[bytes] = []
    loose: list[bytes] = []
    size = 0
    for kind, name, length in [*_small_packs(store), *_small_loose(store)]:
        if size + length > TARGET:
            groups.append((tuple(packs), tuple(loose)))
            packs, loose, size = [], [], 0
        (packs if kind == rows.PACK else loose).append(name)
        size, total = size + length, total + length
    if len(packs) + len(loose) > 1:
        groups.append((tuple(packs), tuple(loose)))
    else:
        total -= size
    return RepackPlan(tuple(groups), total)


def _small_packs(store: StoreCore) -> list[tuple[int, bytes, int]]:
    """Place, name and size of the packs that are far from the target, the smallest first."""
    found = []
    for name in store.objects.packs.names():
        seen = store.objects.packs.stat(name)
        if seen is not None and seen.st_size < TARGET // 2 and not _young(store, seen.st_mtime):
            found.append((rows.PACK, name, seen.st_size))
    return sorted(found, key=lambda item: (item[2], item[1]))


def _small_loose(store: StoreCore) -> Iterator[tuple[int, bytes, int]]:
    """The same for loose objects that the index knows."""
    known = store.objects.known(list(store.objects.loose.names()))
    for oid, row in known.items():
        if row.place == rows.LOOSE and row.stored <= PACKED_BYTES + HEADER_BYTES:
            seen = store.objects.loose.stat(oid)
            if seen is not None and not _young(store, seen.st_mtime):
                yield rows.LOOSE, oid, row.stored


def _young(store: StoreCore, changed: float) -> bool:
    return store.index_is_local and changed > clock.now_ns() / 1e9 - YOUNG_SECONDS


def execute_repack(
    store: StoreCore, plan: RepackPlan, progress: Callable[[int, int], None] | None = None
) -> Moved:
    """Carry out a plan; ``progress(done, total)`` counts groups.

    Raises:
        StoreReadOnly, StoreBusy, IndexDamaged, ObjectUnreadable: as `rewrite`; what was done so far is whole.
    """
    total = Moved()
    for number, (packs, loose) in enumerate(plan.groups, 1):
        total.add(rewrite(store, packs, loose))
        if progress is not None:
            progress(number, len(plan.groups))
    if plan.groups:
        known = store.objects.known(list(store.objects.loose.names()))
        total.add(drop_copies(store, [oid for oid, row in known.items() if row.pack]))
    return total


def fold_if_many(store: StoreCore) -> None:
    """Repack if there are many small files. For `gc`, which holds up nobody.

    Raises:
        StoreReadOnly, StoreBusy, IndexDamaged, ObjectUnreadable: as `execute_repack`.
    """
    plan = plan_repack(store)
    if plan.packs > MOST_PACKS or plan.loose > MOST_LOOSE:
        execute_repack(store, plan)


def fold_at_close(store: StoreCore) -> None:
    """Fold the smallest packs of a store with very many: one process at a time, and only so many bytes. What
    fails here is left for `gc`.
    """
    if len(store.objects.packs.names()) <= MOST_AT_CLOSE:
        return
    locks = store.index.environment.locks
    try:
        if not locks.try_exclusive(FOLDER):
            return
        try:
            chosen, size = [], 0
            for _, name, length in _small_packs(store):
                size += length
                if size > CLOSE_BYTES:
                    break
                chosen.append(name)
            if len(chosen) > 1:
                rewrite(store, chosen)
        finally:
            locks.release(FOLDER)
    except (ScalableCasError, OSError) as error:
        store.trouble(error)
