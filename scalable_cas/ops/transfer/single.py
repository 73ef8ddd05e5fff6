"""Fetch one entry, for a program that reads through: its objects in one request where they lie together."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from scalable_cas.format.header import HEADER_BYTES
from scalable_cas.ops.closure import children
from scalable_cas.ops.transfer.fetching import Fetcher
from scalable_cas.store.ingest import ingest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.format.record import Record
    from scalable_cas.ops.transfer.repository import Repository

#: Bytes that are read before a root at most: what 100 ms bring on a slow line.
MOST_AHEAD = 1 << 20
#: Buffers that the guess of their length allows for: their headers come on top of their content.
BUFFERS = 32


class Fetched(NamedTuple):
    """Whether an entry is ``new`` here; ``fault``: which object of it cannot be used, and why; else ""."""

    new: bool
    fault: str


def bytes_ahead(record: Record) -> int:
    """Bytes to read before the root of an entry, so that what it names comes with it: a pack has the
    objects of an entry next to each other, children first (remote-layout-v1, section 3).
    """
    below = record.total - record.size
    return min(below + BUFFERS * HEADER_BYTES, MOST_AHEAD) if below > 0 else 0


def fetch_entry(repository: Repository, record: Record, origin: str) -> Fetched:
    """Take over an entry that the view of a remote knows. ``origin``: who signed it.

    Raises:
        RemoteError: the remote could not be read.
        StoreReadOnly, StoreBusy, IndexDamaged: the store cannot be written.
    """
    fetcher = Fetcher(repository, bytes_ahead(record))
    try:
        fetcher.fetch((record.oid,))
    finally:
        repository.rooms.clear()  # a program that reads through may never again fetch as much
    store = repository.store
    done = ingest(store, [(record, origin)], fetcher.arrivals, partial(children, store.objects))
    fault = ""
    if done.lost:
        oid, reason = fetcher.blame(record.oid)
        fault = f"object {oid.hex()} cannot be used: {reason}"
    return Fetched(done.new > 0, fault)
