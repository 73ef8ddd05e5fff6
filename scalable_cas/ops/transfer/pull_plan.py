"""What a pull would fetch: the entries that are not here. Changes nothing but the view."""

from __future__ import annotations

from typing import NamedTuple

from scalable_cas.format import record as records
from scalable_cas.format import rows
from scalable_cas.format.header import CHUNKED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scalable_cas.ops.transfer.repository import Repository

#: Entries that are looked up in one transaction.
_BATCH = 2000


class PullPlan(NamedTuple):
    """What a pull would do: row keys of the ``wanted`` entries, near to each other if their roots are;
    ``present``: entries that are here already; ``bytes``: about what is fetched (what is shared with entries
    that are here is not, and is counted all the same); ``faults``: file and reason of each segment there that
    cannot be used.
    """

    wanted: tuple[bytes, ...]
    present: int
    bytes: int
    faults: tuple[tuple[str, str], ...]

    @property
    def entries(self) -> int:
        """Entries to fetch."""
        return len(self.wanted)


def plan_pull(
    repository: Repository, functions: Sequence[bytes] | None = None, *, refresh: bool = True
) -> PullPlan:
    """Plan a pull of the entries of some functions (ids of 8 bytes), or of all. ``refresh``: bring the view
    up to date before, which is a request at least.

    Raises:
        RemoteError, StoreReadOnly, StoreBusy: the view cannot be brought up to date.
    """
    store, view = repository.store, repository.view
    store.flush()
    if refresh:
        repository.refresh()
    present = 0
    wanted: list[tuple[bytes, bytes]] = []
    for fnid in (b"",) if functions is None else sorted(functions):
        here = store.index.scan("refs", fnid)
        key, row = next(here, (b"", b""))
        for rowkey, created, oid in view.entries(fnid):
            while key and key < rowkey:
                key, row = next(here, (b"", b""))
            if key == rowkey and not _may_give_way(row, created, oid):
                present += 1
            else:
                wanted.append((rowkey, oid))
    ordered: list[tuple[bytes, int, bytes]] = []
    size = 0
    for at in range(0, len(wanted), _BATCH):
        batch = wanted[at : at + _BATCH]
        places = view.places_of([oid for _, oid in batch])
        found = view.lookup_all([rowkey for rowkey, _ in batch])
        for (rowkey, oid), there in zip(batch, found, strict=True):
            place = places[oid][0] if oid in places else None
            if place is not None and there is not None:
                size += place.length + records.bytes_below(there[1])
                if place.coding == CHUNKED:  # the root is only the list of its chunks
                    size += place.raw_size
            ordered.append((place.holder, place.offset, rowkey) if place is not None else (b"", 0, rowkey))
    ordered.sort()
    return PullPlan(tuple(item[2] for item in ordered), present, size, tuple(sorted(view.faults.items())))


def _may_give_way(row: bytes, created: int, oid: bytes) -> bool:
    """Whether an entry here may be replaced by another one with the root ``oid``: never one that was made
    here. `store.ingest.is_wanted` decides; this is to spare the fetching of most that it would refuse.
    """
    if len(row) < rows.REF_FIXED:
        return True
    fields = rows.REF.unpack_from(row)
    return bool(fields[1] & rows.FOREIGN) and fields[11] != oid and fields[6] != created
