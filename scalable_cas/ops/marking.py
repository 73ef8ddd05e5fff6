"""Mark: which objects the entries and the pins of a store need. An object that cannot be read stops it,
because whoever deletes must not guess.
"""

from __future__ import annotations

from collections import deque

from scalable_cas.format import rows
from scalable_cas.format.kinds import VALUE
from scalable_cas.ops.closure import children, children_of, descendants

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scalable_cas.store.core import StoreCore


def mark(
    store: StoreCore,
    refs: Iterable[tuple[bytes, bytes]],
    pins: Iterable[bytes],
    dropped: frozenset[bytes] = frozenset(),
    progress: Callable[[int], None] | None = None,
) -> set[bytes]:
    """Return the names of all objects that are reached from ``refs`` (key and row of each entry) and
    ``pins``, leaving out the entries in ``dropped``.

    Raises:
        ObjectNotFound, CorruptObject, ObjectUnreadable: an object on the way cannot be read. An entry's own
            root may be missing: it is a miss already.
    """
    marked: set[bytes] = set()
    for count, (rowkey, row) in enumerate(refs):
        if progress is not None and count % 1000 == 0:
            progress(count)
        if rowkey in dropped or len(row) < rows.REF_FIXED:
            continue
        fields = rows.REF.unpack_from(row)
        kind, oid = fields[3], fields[11]
        if oid in marked:
            continue
        if kind != VALUE:
            deque(descendants(store.objects, [(kind, oid)], marked), maxlen=0)
            continue
        marked.add(oid)
        if store.objects.place(oid) is not None:
            deque(descendants(store.objects, root_children(store, rowkey, row), marked), maxlen=0)
    for pin in pins:
        if len(pin) == 32 and store.objects.place(pin) is not None:
            deque(descendants(store.objects, [(store.objects.head(pin).kind, pin)], marked), maxlen=0)
    return marked


def root_children(store: StoreCore, rowkey: bytes, row: bytes) -> tuple[tuple[int, bytes], ...]:
    """The (kind, name) of what an entry's root object names: from the copy in its row where there is one.

    Raises:
        ObjectNotFound, CorruptObject, ObjectUnreadable: the root cannot be read.
    """
    fields = rows.REF.unpack_from(row)
    kind, oid = fields[3], fields[11]
    copied = rows.inline_of(row) if kind == VALUE else None
    tag = row[: rows.TAG_BYTES]
    if copied is not None and rows.ref_tag(rowkey, row[rows.TAG_BYTES :], store.secret) == tag:
        return children_of(kind, oid, copied)
    return children(store.objects, kind, oid)
