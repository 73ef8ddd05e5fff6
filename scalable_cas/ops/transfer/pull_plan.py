"""What a pull would fetch: the entries that are not here. Changes nothing but the view."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from scalable_cas.errors import MalformedObject
from scalable_cas.format import record as records
from scalable_cas.format import rows
from scalable_cas.format.header import CHUNKED
from scalable_cas.store import trust
from scalable_cas.store.ingest import is_wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scalable_cas.ops.transfer.repository import Repository
    from scalable_cas.store.core import StoreCore

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
    trusts = cache(trust.trust_list().trusts)  # each time it is asked it looks at files
    present = 0
    wanted: list[tuple[bytes, bytes, bytes]] = []  # row key, root there, row here
    for fnid in (b"",) if functions is None else sorted(functions):
        here = store.index.scan("refs", fnid)
        key, row = next(here, (b"", b""))
        for rowkey, created, oid, trusted in view.entries(fnid):
            while key and key < rowkey:
                key, row = next(here, (b"", b""))
            if key == rowkey and not _may_give_way(row, created, oid, trusts if trusted else None):
                present += 1
            else:
                wanted.append((rowkey, oid, row if key == rowkey else b""))
    ordered: list[tuple[bytes, int, bytes]] = []
    size = 0
    for at in range(0, len(wanted), _BATCH):
        batch = wanted[at : at + _BATCH]
        places = view.places_of([oid for _, oid, _ in batch])
        found = view.lookup_all([rowkey for rowkey, _, _ in batch])
        for (rowkey, oid, row), there in zip(batch, found, strict=True):
            if row and there is not None and not _gives_way(store, row, oid, *there):
                present += 1
                continue
            place = places[oid][0] if oid in places else None
            if place is not None and there is not None:
                size += place.length + records.bytes_below(there[1])
                if place.coding == CHUNKED:  # the root is only the list of its chunks
                    size += place.raw_size
            ordered.append((place.holder, place.offset, rowkey) if place is not None else (b"", 0, rowkey))
    ordered.sort()
    return PullPlan(tuple(item[2] for item in ordered), present, size, tuple(sorted(view.faults.items())))


def _may_give_way(row: bytes, created: int, oid: bytes, trusts: Callable[[bytes], bool] | None) -> bool:
    """Whether an entry here (its row) may be replaced by another one: never one that was made here, and not
    by itself. Spares most a look at the record. ``trusts`` tells whether a signer is trusted, if that of the
    other is: somebody else may have signed it here.
    """
    if len(row) < rows.REF_FIXED:
        return True
    fields = rows.REF.unpack_from(row)
    if not fields[1] & rows.FOREIGN:
        return False
    other = fields[11] != oid or fields[6] != created
    return other or (trusts is not None and not trusts(rows.signer_of(row)))


def _gives_way(store: StoreCore, row: bytes, oid: bytes, origin: str, packed: bytes) -> bool:
    """Whether `store.ingest` would replace an entry here by that of the remote: what it would refuse need not
    be fetched. Nor need the same result of the same signer, who computed it again.
    """
    if rows.REF.unpack_from(row)[11] == oid and records.origin_of(rows.signer_of(row)) == origin:
        return False
    try:
        return is_wanted(store, row, records.unpack(packed), origin)
    except MalformedObject:
        return True  # the pull says what is wrong with it
