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
    """The closures of the entries of a store. What several share is read once."""

    def __init__(self, store: StoreCore) -> None:
        self._store = store
        self._known: dict[bytes, tuple[bytes, ...]] = {}

    def entry(self, rowkey: bytes, row: bytes) -> tuple[bytes, ...]:
        """The names of all objects of an entry (its key and row), the root last, each once.

        Raises:
            ObjectNotFound, CorruptObject, ObjectUnreadable: one on the way cannot be read.
        """
        fields = rows.REF.unpack_from(row)
        kind, oid = fields[3], fields[11]
        if kind == BLOB:
            return self.object(kind, oid)
        return self._joined(oid, root_children(self._store, rowkey, row))

    def object(self, kind: int, oid: bytes) -> tuple[bytes, ...]:
        """The same for an object.

        Raises:
            ObjectNotFound, CorruptObject, ObjectUnreadable: one on the way cannot be read.
        """
        found = self._known.get(oid)
        if found is None:
            found = self._joined(oid, children(self._store.objects, kind, oid))
            if len(found) > 1:
                self._known[oid] = found
        return found

    def _joined(self, oid: bytes, below: tuple[Child, ...]) -> tuple[bytes, ...]:
        if not below:
            return (oid,)
        found: dict[bytes, None] = {}
        for kind, child in below:
            found.update(dict.fromkeys(self.object(kind, child)))
        found[oid] = None
        return tuple(found)
