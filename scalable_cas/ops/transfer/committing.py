"""Write a segment: the last step of whatever makes something visible in a remote."""

from __future__ import annotations

import os

from scalable_cas import clock
from scalable_cas.errors import RemoteError
from scalable_cas.format import remote_layout as layout
from scalable_cas.format import segment as segments
from scalable_cas.format.segment import Segment
from scalable_cas.store import trust

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scalable_cas.format.segment import ObjectPlace
    from scalable_cas.ops.transfer.repository import Repository


def commit(
    repository: Repository,
    records: Sequence[bytes],
    places: Sequence[ObjectPlace],
    after: int = 0,
    *,
    signed: bool = True,
) -> tuple[bytes, str, int]:
    """Write a segment with these packed records and places, signed with the user's own key unless they are
    not ``signed``, and add it to the view; returns its number, file and length. It says that it was written
    later than ``after`` (ns), whatever the clock says: readers take the place of the youngest.

    Raises:
        RemoteError: it could not be written.
        StoreReadOnly, StoreBusy: the view cannot be written.
    """
    key = trust.own_key() if signed else None
    now = clock.now_ns()
    created = min(max(now, after + 1), segments.LATEST)
    number = os.urandom(16)
    signer = b"" if key is None else key.public
    segment = Segment(repository.remote_id, signer, number, created, tuple(records), tuple(places))
    data = segments.pack(segment, None if key is None else key.sign)
    name = layout.segment_name(now, number)
    if not repository.remote.put(name, data):
        raise RemoteError(repository.url, "", "a random name is taken; is the system's randomness broken?")
    repository.view.ingest(segment, data)
    return number, name, len(data)
