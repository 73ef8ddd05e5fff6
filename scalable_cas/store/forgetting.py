"""Entries go: from the journal, by tombstones, and from the index. Their objects stay until gc. Keeps I4."""

from __future__ import annotations

from scalable_cas import clock
from scalable_cas.errors import StoreFull
from scalable_cas.format.record import EVERY_KEY, tombstone
from scalable_cas.store import ballast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from scalable_cas.storage.index import Changes
    from scalable_cas.store.core import StoreCore

    Still = Callable[[Changes, bytes], bool]


def forget(store: StoreCore, rowkeys: Sequence[bytes], still: Still | None, whole: Iterable[bytes]) -> int:
    """See `StoreCore.forget`: all in one transaction, unless the disk is full; then a few at a time."""
    store.flush()
    names = store.index.function_names()
    forgotten = 0

    def some(batch: Sequence[bytes], last: bool) -> None:
        nonlocal forgotten
        done: int = store.index.write(
            lambda changes: _forget(store, changes, batch, names, still, whole if last else ())
        )
        forgotten += done

    try:
        some(rowkeys, True)
    except StoreFull:
        if not ballast.release(store.root) and len(rowkeys) <= ballast.FEW:
            raise
        try:
            ballast.in_batches(store.root, _oldest_first(store, rowkeys), some, ballast.FEW)
        except StoreFull as error:
            done = f"{error.reason}; {forgotten} of {len(rowkeys)} entries are forgotten"
            raise StoreFull(error.path, f"{done}; run `scalable-cas gc`, then this again") from error
    return forgotten


def _oldest_first(store: StoreCore, rowkeys: Sequence[bytes]) -> list[bytes]:
    """In the order in which they were stored: what was stored together lies in one pack, and a pack of which
    nothing is needed can be removed without space.
    """
    record = store.index.record
    return sorted(rowkeys, key=lambda rowkey: found.created if (found := record(rowkey)) is not None else 0)


def _forget(
    store: StoreCore,
    changes: Changes,
    rowkeys: Sequence[bytes],
    names: dict[bytes, str],
    still: Still | None,
    whole: Iterable[bytes],
) -> int:
    present = [rowkey for rowkey in rowkeys if changes.ref(rowkey) is not None]
    absent: list[bytes] = []
    if still is not None:
        present = [rowkey for rowkey in present if still(changes, rowkey)]
    elif not changes.number("filled"):  # by somebody who has read the journal already: he reads it again
        absent = [rowkey for rowkey in rowkeys if changes.ref(rowkey) is None]
    gone = [*present, *absent, *(fnid + EVERY_KEY for fnid in whole)]
    if gone:
        sequence, now = changes.next_number("sequence"), clock.now_ns()
        stones = [tombstone(key, names.get(key[:8], ""), created=now, sequence=sequence) for key in gone]
        store.journal.append([stone.pack() for stone in stones], sync=True)
    return sum(changes.drop_entry(rowkey) for rowkey in present)
