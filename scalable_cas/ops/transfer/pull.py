"""Pull: fetch the entries that are not here, with their objects, and take them over. Objects first, entries
last (I2); an entry that is here already stays as it is.

Work is done in portions, and each is complete when it is done: what an interrupted pull took over stays, and
the next one goes on with the rest.
"""

from __future__ import annotations

from typing import NamedTuple

from scalable_cas import clock
from scalable_cas.errors import MalformedObject
from scalable_cas.format import record as records
from scalable_cas.format import rows
from scalable_cas.ops.transfer.fetching import Fetcher
from scalable_cas.store.adopting import Adoption, adopt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scalable_cas.format.record import Record
    from scalable_cas.ops.transfer.pull_plan import PullPlan
    from scalable_cas.ops.transfer.repository import Repository

    Progress = Callable[[int, int], None]

#: Entries, and bytes of their values, of one portion. Small objects of a portion are in memory together.
PORTION_ENTRIES, PORTION_BYTES = 20_000, 256 << 20


class Lost(NamedTuple):
    """An entry that could not be had: its row key and function, the object (32 bytes) that is at fault, and
    why.
    """

    rowkey: bytes
    function: str
    oid: bytes
    reason: str


class Pulled(NamedTuple):
    """What a pull did: ``entries`` and ``objects`` that are here now and were not before, ``present`` entries
    that were here already, ``bytes`` received, ``requests`` and ``seconds`` in all; ``lost`` entries;
    ``faults``: file and reason of segments there that cannot be used.
    """

    entries: int
    objects: int
    present: int
    lost: tuple[Lost, ...]
    faults: tuple[tuple[str, str], ...]
    bytes: int
    requests: int
    seconds: float


def pull(repository: Repository, plan: PullPlan, progress: Progress | None = None) -> Pulled:
    """Carry out a plan; ``progress(bytes received, of about how many)``.

    Raises:
        RemoteError: the remote could not be read; what came so far stays, a second pull completes it.
        StoreReadOnly, StoreBusy, IndexDamaged: the store cannot be written.
    """
    since = clock.monotonic()
    traffic, store = repository.remote.traffic, repository.store
    entries = objects = 0
    lost: list[Lost] = []
    for portion in _portions(repository, plan, lost):
        for attempt in range(2):
            epoch = store.index.number("epoch")
            fetcher = Fetcher(repository)
            fetcher.fetch(record.oid for record in portion)
            new, lacking = adopt(store, epoch, _adoptions(fetcher, portion, lost), fetcher.arrived)
            entries, objects = entries + new, objects + fetcher.fetched
            if progress is not None:
                progress(traffic.bytes_received, max(plan.bytes, traffic.bytes_received))
            portion = [item.record for item in lacking]  # a collector took an object of theirs in between
            if not portion or attempt:
                break
        lost += [_lost(record, record.oid, "it was collected while it was pulled") for record in portion]
    return Pulled(
        entries=entries,
        objects=objects,
        present=plan.present,
        lost=tuple(lost),
        faults=plan.faults,
        bytes=traffic.bytes_received,
        requests=traffic.requests,
        seconds=clock.monotonic() - since,
    )


def _portions(repository: Repository, plan: PullPlan, lost: list[Lost]) -> Iterator[list[Record]]:
    portion: list[Record] = []
    size = 0
    for at in range(0, len(plan.wanted), PORTION_ENTRIES):
        keys = plan.wanted[at : at + PORTION_ENTRIES]
        for rowkey, found in zip(keys, repository.view.lookup_all(keys), strict=True):
            if found is None:  # collected there since the plan
                continue
            origin, packed = found
            try:
                record = records.unpack(packed)
            except MalformedObject as error:
                lost.append(Lost(rowkey, "?", bytes(32), error.reason))
                continue
            record.origin = origin  # whatever it says itself
            portion.append(record)
            size += record.total
            if size > PORTION_BYTES or len(portion) == PORTION_ENTRIES:
                yield portion
                portion, size = [], 0
    if portion:
        yield portion


def _adoptions(fetcher: Fetcher, portion: list[Record], lost: list[Lost]) -> list[Adoption]:
    """The entries of which everything came."""
    found = []
    for record in portion:
        closure = fetcher.closure(record.oid)
        if closure is None:
            lost.append(_lost(record, *fetcher.blame(record.oid)))
            continue
        root = fetcher.arrived[record.oid]
        if (root.kind, root.size) != (record.kind, record.size):
            lost.append(_lost(record, record.oid, "it is of another kind or size than its record says"))
            continue
        content = fetcher.contents.get(record.oid) if record.size <= rows.INLINE_BYTES else None
        found.append(Adoption(record, closure, content))
    return found


def _lost(record: Record, oid: bytes, reason: str) -> Lost:
    return Lost(record.rowkey, record.function, oid, reason)
