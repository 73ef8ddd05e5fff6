"""What trees hold, for people and programs. Changes nothing."""

from __future__ import annotations

from scalable_cas.errors import ObjectNotFound, ScalableCasError
from scalable_cas.format import tree
from scalable_cas.format.kinds import KIND_NAMES, TREE
from scalable_cas.ops.selection import select_object
from scalable_cas.store.checkout import entries_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scalable_cas.store.core import StoreCore


class NotATree(ScalableCasError):
    """The object is there but is no folder. ``oid`` is hex; ``kind`` is "blob", "value" or "list"."""

    def __init__(self, oid: str, kind: str) -> None:
        super().__init__(
            f"object {oid} is a {kind}, not a tree; `scalable-cas cat-file -p` shows what it holds"
        )
        self.oid = oid
        self.kind = kind


def listing(store: StoreCore, prefix: str, *, recursive: bool) -> Iterator[tree.TreeEntry]:
    """The entries of the tree that an abbreviated id names, in order. ``recursive``: of all folders below
    too, with names that are paths, and of folders only those that are empty, as what they hold tells of them.

    Raises:
        ObjectNotFound, AmbiguousPrefix, NotATree: no tree, or more than one object, is called so.
        CorruptObject, ObjectUnreadable: a tree cannot be read.
    """
    oid = select_object(store, prefix)
    if oid is None:
        raise ObjectNotFound(prefix)
    head = store.objects.head(oid)
    if head.kind != TREE:
        raise NotATree(oid.hex(), KIND_NAMES[head.kind])
    return _listing(store, b"", entries_of(store, oid, head.raw_size), 0 if recursive else None)


def _listing(
    store: StoreCore, above: bytes, entries: tuple[tree.TreeEntry, ...], depth: int | None
) -> Iterator[tree.TreeEntry]:
    for entry in entries:
        named = entry._replace(name=above + entry.name)
        if depth is None or entry.mode != tree.FOLDER:
            yield named
            continue
        below = entries_of(store, entry.oid, entry.size)
        if below and depth < tree.DEEPEST:
            yield from _listing(store, named.name + b"/", below, depth + 1)
        else:
            yield named


def line(entry: tree.TreeEntry) -> str:
    """``MODE TYPE OID``, as git says it."""
    return f"{entry.mode:06o} {KIND_NAMES[tree.kind_of(entry.mode)]} {entry.oid.hex()}"
