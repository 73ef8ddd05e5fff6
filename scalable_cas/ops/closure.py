"""Which objects an object is made of. An unreadable object is an error here: whoever deletes must not guess
(git, borg).
"""

from __future__ import annotations

from scalable_cas.errors import CorruptObject, MalformedObject, ObjectNotFound
from scalable_cas.format import value
from scalable_cas.format.chunking import SMALLEST, ChunkList
from scalable_cas.format.header import CHUNKED
from scalable_cas.format.kinds import BLOB, KIND_NAMES, VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scalable_cas.storage.objects import Objects

    Child = tuple[int, bytes]


def children(objects: Objects, kind: int, oid: bytes) -> tuple[Child, ...]:
    """The (kind, name) of every object that this one names: of a value its buffers, of a blob its chunks.

    Raises:
        ObjectNotFound, CorruptObject, ObjectUnreadable: the object cannot be read.
    """
    if kind == BLOB:
        return _chunks(objects, oid)
    if kind != VALUE:
        return ()
    head, content = objects.get(oid)
    if head.kind != kind:
        raise CorruptObject(oid.hex(), f"it is a {KIND_NAMES[head.kind]} where a {KIND_NAMES[kind]} is named")
    return children_of(oid, content)


def _chunks(objects: Objects, oid: bytes) -> tuple[Child, ...]:
    """The chunks of a blob. The index tells which blobs have some, so that the others need not be opened; of
    large ones, which are few, the header is asked all the same: a row has no checksum.
    """
    row = objects.known((oid,)).get(oid)
    if row is not None and row.coding != CHUNKED and row.size < SMALLEST:
        return ()
    if objects.head(oid).coding != CHUNKED:
        return ()
    _, content = objects.stored(oid)
    return tuple((BLOB, name) for name, _ in content.chunks) if isinstance(content, ChunkList) else ()


def children_of(oid: bytes, content: bytes | memoryview) -> tuple[Child, ...]:
    """The same for the content of a value object.

    Raises:
        CorruptObject: it does not follow the format.
    """
    try:
        return tuple((ref.kind, ref.oid) for ref in value.unpack(content).buffers)
    except MalformedObject as error:
        raise CorruptObject(oid.hex(), error.reason) from error


def descendants(objects: Objects, first: Iterable[Child], seen: set[bytes]) -> Iterator[Child]:
    """Yield the (kind, name) of ``first``, of their children, and so on: each that is not in ``seen``, to
    which it is added. One that is gone has no children.

    Raises:
        CorruptObject, ObjectUnreadable: an object cannot be read.
    """
    queue = list(first)
    while queue:
        kind, oid = queue.pop()
        if oid in seen:
            continue
        seen.add(oid)
        yield kind, oid
        try:
            queue.extend(children(objects, kind, oid))
        except ObjectNotFound:
            continue
