"""The buffers of a value, read and checked. Keeps I5.

A frame has one buffer for each column. The naive way reads one after the other, each with all cores; but for
a few megabytes much of that is waiting: every step of a column starts threads, and ends when the slower one
does. So buffers of that size are read several at a time, each by one thread from its first byte to its last.
"""

from __future__ import annotations

from scalable_cas.errors import CorruptObject
from scalable_cas.format.kinds import BLOB
from scalable_cas.storage import parallel
from scalable_cas.storage.reading import SMALL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scalable_cas.format.value import BufferRef
    from scalable_cas.store.core import StoreCore

#: From `reading.SMALL` up to this many bytes a buffer is read by one thread beside the others: below it a
#: thread costs more than it saves, above it the last one would be waited for longer than its steps are.
ALONE = 16 << 20


def buffer_of(store: StoreCore, ref: BufferRef, threads: int = 0) -> bytes | memoryview:
    """The checked content of a buffer; ``threads``: 0 for one on each core.

    Raises:
        ObjectNotFound, CorruptObject, ObjectUnreadable: it cannot be had, or is another.
    """
    head, content = store.objects.get(ref.oid, threads=threads or parallel.cores(), largest=ref.size)
    if head.kind != BLOB or head.raw_size != ref.size:
        raise CorruptObject(ref.oid.hex(), "it is of another kind or size than its value says")
    return content


def buffers_of(store: StoreCore, refs: Sequence[BufferRef]) -> list[bytes | memoryview]:
    """The checked contents of the buffers of a value, each in memory of its own, also where two are equal.

    Raises:
        ObjectNotFound, CorruptObject, ObjectUnreadable: as `buffer_of`, of one of them.
    """
    found: list[bytes | memoryview] = [b""] * len(refs)
    beside = [number for number, ref in enumerate(refs) if SMALL <= ref.size <= ALONE]
    if len(beside) < 2:
        beside = []

    def fetch(number: int) -> None:
        found[number] = buffer_of(store, refs[number], 1)

    parallel.each(fetch, beside, parallel.cores() if beside else 1)
    for number in set(range(len(refs))).difference(beside):
        found[number] = buffer_of(store, refs[number])
    return found
