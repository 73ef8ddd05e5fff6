"""Arrays as read-only memory maps of the store. Keeps I1 and I5.

The problem: a map shows what is in the file, now and later, and to check 4 GB at each hit takes as long as to
read them. The naive way, to map without a check, gives whatever a disk or a neighbour made of the file. What
we do: a file is hashed before it is mapped for the first time, or was written by us just now; then its stat
is remembered, with a tag that only this user can make, under the rule of keys/stats.py, and a file whose
stat is another one is hashed again. So what a map shows was right, in this very file, and nothing has
been written to the file since that its file system would show.

Who writes into the file later, or cuts it short, breaks the maps of it (the second with SIGBUS), as for any
map of any file. Nothing of ours does: an object's file is never changed, only removed or replaced, and the
old file lives on under its maps.

Only objects that lie raw and by themselves can be mapped. One that does not is written anew so, once, for
this and every later hit (I1 allows it: how an object is stored is no part of its name).
"""

from __future__ import annotations

import os

from scalable_cas import clock
from scalable_cas.codecs.encoded import OUT_OF_BAND
from scalable_cas.errors import CorruptObject, ScalableCasError
from scalable_cas.format.header import RAW
from scalable_cas.format.kinds import BLOB, object_id
from scalable_cas.keys.stats import memory, signature_of
from scalable_cas.storage.parallel import cores
from scalable_cas.store.buffers import buffer_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from scalable_cas.format.value import BufferRef
    from scalable_cas.keys.stats import Signature
    from scalable_cas.storage.index import Changes
    from scalable_cas.store.core import StoreCore

#: Two changes of a file within this time (ns) may have one time: two ticks of the slowest kernel clock (100
#: Hz). It holds where a file system keeps more than whole milliseconds; elsewhere the window of the stat
#: cache does.
TICK = 20 * 10**6


def mapped_buffer(store: StoreCore, ref: BufferRef) -> memoryview | bytes:
    """A buffer as a read-only map, or where that cannot be as bytes.

    Raises:
        ObjectNotFound, CorruptObject, ObjectUnreadable: it cannot be had.
    """
    if ref.kind == BLOB and ref.size >= OUT_OF_BAND:
        found = _mapped(store, ref.oid, ref.size)
        if found is not None:
            return found
    content = buffer_of(store, ref)
    large = ref.kind == BLOB and ref.size >= OUT_OF_BAND
    if large and not _is_raw(store, ref.oid) and _write_raw(store, ref.oid, content):
        return _mapped(store, ref.oid, ref.size) or memoryview(content).toreadonly()
    return memoryview(content).toreadonly()


def _is_raw(store: StoreCore, oid: bytes) -> bool:
    """Whether an object is stored as it is already, and cannot be mapped for another reason."""
    return store.objects.head(oid).coding == RAW and store.objects.loose.stat(oid) is not None


def _mapped(store: StoreCore, oid: bytes, size: int) -> memoryview | None:
    """The map of an object that was checked, now or before; None if it cannot be mapped."""
    mapped = store.objects.loose.map(oid, size)
    if mapped is None:
        return None
    content, seen = mapped
    if seen.st_uid != os.geteuid():  # its owner may change it at any time
        return None
    where, known = _where(store, oid), store.known_files
    found = known.get(where) if known is not None else None
    if (
        found is not None
        and found[0] == signature_of(seen)
        and found[2] == oid
        and found[1] <= clock.now_ns()
    ):
        return content
    began = clock.now_ns()
    if object_id(BLOB, content, cores()) != oid:
        raise CorruptObject(oid.hex(), "its content has another digest")
    _keep(store, oid, seen, began)
    return content


def _where(store: StoreCore, oid: bytes) -> str:
    return store.objects.loose.path(oid) + "\0map"  # no path has a NUL


def _window(store: StoreCore, seen: os.stat_result, oid: bytes) -> int | None:
    """How old a file's last change must be before its stat tells it from the next one (ns); None: it never
    does.
    """
    trust = memory.trust_in_device(store.objects.loose.path(oid), seen)
    if trust is None or seen.st_ctime_ns <= 0:
        return None
    fine = seen.st_ctime_ns % 1_000_000 and not trust[2]
    return TICK if fine else trust[0]


def _keep(store: StoreCore, oid: bytes, seen: os.stat_result, began: int) -> None:
    """Remember that the file with this stat was right when it was looked at, which began at ``began``."""
    known, window = store.known_files, _window(store, seen, oid)
    if known is None or window is None or max(seen.st_mtime_ns, seen.st_ctime_ns) >= began - window:
        return
    signature: Signature = signature_of(seen)
    known.put(_where(store, oid), (signature, began, oid))


def remember(store: StoreCore, oids: Collection[bytes], began: int) -> None:
    """Remember that these objects were written by this process since ``began`` (ns). Waits for the end of the
    clock's tick, up to 20 ms: whoever changes a file after that changes its stat.
    """
    newest, fresh = 0, []
    for oid in oids:
        seen = store.objects.loose.stat(oid)
        # an older file was there before, and is hashed when it is mapped
        if seen is not None and seen.st_mtime_ns >= began and _window(store, seen, oid) == TICK:
            fresh.append((oid, seen))
            newest = max(newest, seen.st_ctime_ns)
    left = newest + TICK + 10**6 - clock.now_ns()
    if 0 < left <= 2 * TICK:
        clock.sleep(left / 1e9)
    now = clock.now_ns()
    for oid, before in fresh:
        seen = store.objects.loose.stat(oid)
        if seen is not None and signature_of(seen) == signature_of(before):
            _keep(store, oid, seen, now)


def _write_raw(store: StoreCore, oid: bytes, content: bytes | memoryview) -> bool:
    """Write an object anew, raw and by itself, and have its row say so; False if that cannot be."""
    if store.read_only:
        return False
    try:
        place = store.objects.loose.put_raw(BLOB, oid, content, sync=store.strict)

        def change(changes: Changes) -> None:
            row = changes.object_row(oid)
            if row is not None:  # else a collector took it just now, and takes this one next time
                changes.put_object(oid, place.row(row.epoch))

        store.index.write(change)
    except ScalableCasError as error:
        store.trouble(error)
        return False
    return True
