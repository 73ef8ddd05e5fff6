"""Pull: fetch the entries that are not here, with their objects, and take them over. Objects first, entries
last (I2); an entry that is here already stays as it is.

Work is done in portions, and each is complete when it is done: what an interrupted pull took over stays, and
the next one goes on with the rest. Where the remote fails, what is complete of the portion stays too.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from scalable_cas import clock
from scalable_cas.errors import MalformedObject, RemoteError
from scalable_cas.format import record as records
from scalable_cas.ops.closure import children
from scalable_cas.ops.transfer.fetching import Fetcher
from scalable_cas.store.ingest import ingest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scalable_cas.format.record import Record
    from scalable_cas.ops.transfer.pull_plan import PullPlan
    from scalable_cas.ops.transfer.repository import Repository

    Progress = Callable[[int, int], None]

#: Entries, and bytes of their values, of one portion. What is known of its objects is in memory together.
PORTION_ENTRIES, PORTION_BYTES = 20_000, 512 << 20


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
    that were here already, ``refused`` entries that do not fit their objects, ``bytes`` received,
    ``requests`` and ``seconds`` in all; ``lost`` entries; ``faults``: file and reason of segments there that
    cannot be used.
    """

    entries: int
    objects: int
    present: int
    refused: int
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
    traffic, store = repository.remote.traffic, repository.store
    entries = objects = refused = 0
    lost: list[Lost] = []
    for wanted in _portions(repository, plan, lost):
        fetcher, portion = Fetcher(repository), wanted
        for attempt in range(2):
            try:
                fetcher.fetch(record.oid for record, _ in portion)
            except RemoteError:  # what is complete stays; the rest is for the next pull
                ingest(store, portion, fetcher.arrivals, partial(children, store.objects))
                raise
            done = ingest(store, portion, fetcher.arrivals, partial(children, store.objects))
            entries, refused = entries + done.new, refused + done.refused
            incomplete = set(done.incomplete)
            portion = [item for item in portion if item[0].rowkey in incomplete]
            # what a collector took here in the meantime comes again; what cannot be had there does not
            if attempt or done.lost <= fetcher.faults.keys():
                break
        objects += fetcher.fetched
        lost += [Lost(item.rowkey, item.function, *fetcher.blame(item.oid)) for item, _ in portion]
        if progress is not None:
            progress(traffic.bytes_received, max(plan.bytes, traffic.bytes_received))
    repository.rooms.clear()
    return Pulled(
        entries=entries,
        objects=objects,
        present=plan.present,
        refused=refused,
        lost=tuple(lost),
        faults=plan.faults,
        bytes=traffic.bytes_received,
        requests=traffic.requests,
        seconds=clock.monotonic() - repository.since,
    )


def _portions(repository: Repository, plan: PullPlan, lost: list[Lost]) -> Iterator[list[tuple[Record, str]]]:
    """The entries of a plan, each with who signed it."""
    portion: list[tuple[Record, str]] = []
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
            portion.append((record, origin))
            size += record.total
            if size > PORTION_BYTES or len(portion) == PORTION_ENTRIES:
                yield portion
                portion, size = [], 0
    if portion:
        yield portion
