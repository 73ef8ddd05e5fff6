"""Which objects an object is made of. An unreadable object is an error here: whoever deletes must not guess
(git, borg).
"""

from __future__ import annotations

from scalable_cas.errors import CorruptObject, MalformedObject
from scalable_cas.format import value
from scalable_cas.format.kinds import KIND_NAMES, VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.storage.objects import Objects


def children(objects: Objects, kind: int, oid: bytes) -> tuple[tuple[int, bytes], ...]:
    """The (kind, name) of every object that this one names. Blobs name none, and are not read.

    Raises:
        ObjectNotFound, CorruptObject, ObjectUnreadable: the object cannot be read.
    """
    if kind != VALUE:
        return ()
    head, content = objects.get(oid)
    if head.kind != kind:
        raise CorruptObject(oid.hex(), f"it is a {KIND_NAMES[head.kind]} where a {KIND_NAMES[kind]} is named")
    return children_of(oid, content)


def children_of(oid: bytes, content: bytes | memoryview) -> tuple[tuple[int, bytes], ...]:
    """The same for the content of a value object.

    Raises:
        CorruptObject: it does not follow the format.
    """
    try:
        return tuple((ref.kind, ref.oid) for ref in value.unpack(content).buffers)
    except MalformedObject as error:
        raise CorruptObject(oid.hex(), error.reason) from error
