"""What is to be sent to a remote by itself, and sending it. Keeps I2, as `push` does.

The row of a result that is to be sent is written in one transaction with its entry, so it is there after a
kill too, and whichever process of this store comes next sends it. One process sends at a time; the others
leave it to that one, but for their last moments, in which they wait for their turn.
"""

from __future__ import annotations

from itertools import islice

from blake3 import blake3

from scalable_cas import clock
from scalable_cas.format import view_rows
from scalable_cas.ops.transfer.push import STALE_SECONDS, push
from scalable_cas.ops.transfer.push_plan import plan_entries
from scalable_cas.ops.transfer.repository import open_repository

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.store.core import StoreCore

#: Entries of one plan: as many as a segment is read with at a time.
MOST = 20_000


def waiting(store: StoreCore, url: str, most: int = MOST) -> list[bytes]:
    """Row keys of entries that are to be sent to ``url``."""
    prefix = view_rows.outbox(url)
    return [key[len(prefix) :] for key, _ in islice(store.index.scan_views(prefix), most)]


def is_waiting(store: StoreCore, url: str) -> bool:
    """Whether anything is to be sent to ``url``."""
    return bool(waiting(store, url, 1))


def send(store: StoreCore, url: str, *, wait: float = 0.0) -> bool:
    """Send all of it; False if another process is sending, for longer than ``wait`` seconds.

    Raises:
        RemoteError and others: as `push`. What was not sent waits.
    """
    turn = b"outbox\0\0" + blake3(url.encode("utf-8", "surrogatepass")).digest()
    until = clock.monotonic() + wait
    flights = store.flights
    while not flights.try_enter(turn, "outbox"):
        if clock.monotonic() >= until:
            return False
        clock.sleep(0.05)
    try:
        store.flush()
        if is_waiting(store, url):
            _send(store, url)
    finally:
        flights.leave(turn)
    return True


def _send(store: StoreCore, url: str) -> None:
    prefix = view_rows.outbox(url)
    with open_repository(store, url, create=True) as repository:
        if repository.view.age() > STALE_SECONDS:
            repository.refresh()
        while rowkeys := waiting(store, url):
            push(repository, plan_entries(repository, rowkeys))
            keys = [prefix + rowkey for rowkey in rowkeys]
            store.index.write(lambda changes, keys=keys: changes.drop_view_rows(keys))  # type: ignore[misc]
