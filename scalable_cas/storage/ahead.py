"""Write large raw blobs while they are hashed.

An object's name is the digest of its content, so the obvious way is to hash it and then to write it: for
100 MB on two cores 17 ms and 28. But a file has no name before it is whole anyway. So content that will be
stored as it is goes into a draft while another core hashes it; the header, which holds the name, is filled in
at the end, and the put that follows publishes the draft (I1). What turns out to be there already was written
for nothing; that costs 10 to 15 ms more than hashing it, and place in `tmp/` meanwhile.
"""

from __future__ import annotations

from contextlib import suppress

from scalable_cas.errors import StoreReadOnly
from scalable_cas.format import compression
from scalable_cas.format.header import HEADER_BYTES
from scalable_cas.format.kinds import BLOB, object_id
from scalable_cas.storage import fs, parallel
from scalable_cas.storage.cutting import ARRAY_BYTES
from scalable_cas.storage.putting import AS_IT_IS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from scalable_cas.storage.loose import LooseObjects


class Ahead:
    """Names blobs. A context manager; the puts of what it named come before its end, where the drafts go that
    none of them took. ``may_write`` is asked before one is made: is the store there, and can it be written?
    """

    __slots__ = ("_loose", "_may_write", "_named")

    def __init__(self, loose: LooseObjects, may_write: Callable[[], bool]) -> None:
        self._loose = loose
        self._may_write = may_write
        self._named: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for oid in self._named:
            _close(self._loose.drafts.pop(oid, None))

    def name(self, content: memoryview, item: int) -> bytes:
        """The name of a blob; ``item`` as in `Objects.put_all`."""
        threads = parallel.cores()
        large = threads > 1 and len(content) > ARRAY_BYTES
        raw = large and (item == AS_IT_IS or (item > 1 and compression.plan(content, item) is None))
        if not raw or not self._may_write():
            return object_id(BLOB, content, threads)
        try:
            draft = self._loose.draft()
        except StoreReadOnly:  # the put will say so
            return object_id(BLOB, content, threads)
        names: list[bytes] = []
        jobs = [
            lambda: names.append(object_id(BLOB, content, threads)),
            lambda: draft.write((content,), at=HEADER_BYTES),
        ]
        try:
            parallel.each(lambda job: job(), jobs, 2)
        except StoreReadOnly:
            _close(draft)
            return names[0] if names else object_id(BLOB, content, threads)
        except BaseException:
            _close(draft)
            raise
        if self._loose.drafts.setdefault(names[0], draft) is not draft:  # another thread has the same content
            _close(draft)
        else:
            self._named.append(names[0])
        return names[0]


def _close(draft: fs.Draft | None) -> None:
    if draft is not None:
        with suppress(StoreReadOnly):  # it stays in `tmp/`, for gc
            draft.close()
