"""Fetch one entry, for a program that reads through: its objects in one request where they lie together."""

from __future__ import annotations

from functools import partial

from scalable_cas.errors import MalformedObject
from scalable_cas.format import record as records
from scalable_cas.format.header import HEADER_BYTES
from scalable_cas.ops.closure import children
from scalable_cas.ops.transfer.fetching import Fetcher
from scalable_cas.store.ingest import ingest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.ops.transfer.repository import Repository

#: Bytes that are read before a root at most: what 100 ms bring on a slow line.
MOST_AHEAD = 1 << 20
#: Buffers that the guess of their length allows for: their headers come on top of their content.
BUFFERS = 32


def fetch_entry(repository: Repository, rowkey: bytes) -> bool:
    """Take over the entry of a row key (40 bytes) from a remote, as its view knows it: no request if it does
    not. False if the remote does not have it, or not whole.

    Raises:
        RemoteError: the remote could not be read.
        StoreReadOnly, StoreBusy, IndexDamaged: the store cannot be written.
    """
    found = repository.view.lookup(rowkey)
    if found is None:
        return False
    origin, packed = found
    try:
        record = records.unpack(packed)
    except MalformedObject:
        return False
    below = record.total - record.size
    # a pack has the objects of an entry next to each other, children first (remote-layout-v1, section 3)
    ahead = min(below + BUFFERS * HEADER_BYTES, MOST_AHEAD) if below > 0 else 0
    fetcher = Fetcher(repository, ahead)
    fetcher.fetch((record.oid,))
    store = repository.store
    done = ingest(store, [(record, origin)], fetcher.arrivals, partial(children, store.objects))
    return not done.incomplete and not done.refused
