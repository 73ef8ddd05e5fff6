"""What an entry needs: the names of all objects that its root reaches, children before parents."""

from __future__ import annotations

from scalable_cas.format import rows
from scalable_cas.format.kinds import BLOB
from scalable_cas.ops.closure import children
from scalable_cas.ops.marking import root_children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.store.core import StoreCore

    Child = tuple[int, bytes]


class Reach:
    """The closures of the entries of a store. An object that names others is read once, however many share
    it.
    """

    def __init__(self, store: StoreCore) -> None:
        self._store = store
        self._known: dict[bytes, tuple[Child, ...]] = {}

    def entry(self, rowkey: bytes, row: bytes) -> tuple[bytes, ...]:
        """The names of all objects of an entry (its key and row), each once: the root last, the children of
        each before it unless several share them.

        Raises:
            ObjectNotFound, CorruptObject, ObjectUnreadable: one on the way cannot be read.
        """
        fields = rows.REF.unpack_from(row)
        kind, oid = fields[3], fields[11]
        below = root_children(self._store, rowkey, row) if kind != BLOB else self._children(kind, oid)
        if not below:
            return (oid,)
        found: dict[bytes, None] = {oid: None}
        stack = list(below)
        while stack:  # never recursing: folders may be nested deeper than Python is
            kind, oid = stack.pop()
            if oid not in found:
                found[oid] = None
                stack.extend(self._children(kind, oid))
        return tuple(reversed(found))

    def _children(self, kind: int, oid: bytes) -> tuple[Child, ...]:
        found = self._known.get(oid)
        if found is None:
            found = children(self._store.objects, kind, oid)
            if found:
                self._known[oid] = found
        return found
