"""Which objects an object is made of. An unreadable object is an error here: whoever deletes must not guess
(git, borg).
"""

from __future__ import annotations

from scalable_cas.errors import CorruptObject, MalformedObject, ObjectNotFound, ScalableCasError
from scalable_cas.format import tree, value
from scalable_cas.format.chunking import SMALLEST, ChunkList
from scalable_cas.format.header import CHUNKED
from scalable_cas.format.kinds import BLOB, KIND_NAMES, TREE, VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scalable_cas.storage.objects import Objects

    Child = tuple[int, bytes]

#: Kinds whose content names other objects.
PARENTS = frozenset((VALUE, TREE))
#: Where trees stand in the order of `parents_first`: after values, before blobs.
TREE_RANK = 1


def children(objects: Objects, kind: int, oid: bytes) -> tuple[Child, ...]:
    """The (kind, name) of every object that this one names: of a value its buffers, of a tree its entries,
    of a blob its chunks.

    Raises:
        ObjectNotFound, CorruptObject, ObjectUnreadable: the object cannot be read.
    """
    if kind == BLOB:
        return _chunks(objects, oid)
    if kind not in PARENTS:
        return ()
    head, content = objects.get(oid)
    if head.kind != kind:
        raise CorruptObject(oid.hex(), f"it is a {KIND_NAMES[head.kind]} where a {KIND_NAMES[kind]} is named")
    return children_of(kind, oid, content)


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


def children_of(kind: int, oid: bytes, content: bytes | memoryview) -> tuple[Child, ...]:
    """The same for the content of a value or a tree.

    Raises:
        CorruptObject: it does not follow the format.
    """
    try:
        if kind == TREE:
            return tuple((tree.kind_of(entry.mode), entry.oid) for entry in tree.unpack(content))
        return tuple((ref.kind, ref.oid) for ref in value.unpack(content).buffers)
    except MalformedObject as error:
        raise CorruptObject(oid.hex(), error.reason) from error


def descendants(objects: Objects, first: Iterable[Child], seen: set[bytes]) -> Iterator[Child]:
    """Yield the (kind, name) of ``first``, of their children, and so on: each that is not in ``seen``, to
    which it is added: each is looked at once, though a hostile tree may hold itself 2**50 times over. One
    that is gone has no children.

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


def parents_first(objects: Objects, ranks: dict[bytes, int]) -> list[bytes]:
    """Some objects, each before what it names (I3, also if a deletion stops half-way). ``ranks``: what of
    another rank it names has a higher one; only trees, of rank `TREE_RANK`, name their like. One that cannot
    be read has lost its children already.
    """
    below: dict[bytes, list[bytes]] = {}
    above = {oid: 0 for oid, rank in sorted(ranks.items()) if rank == TREE_RANK}
    for oid in above:
        try:
            below[oid] = [name for _, name in children(objects, TREE, oid) if name in above]
        except ScalableCasError:
            below[oid] = []
        for name in below[oid]:
            above[name] += 1
    trees = [oid for oid, count in above.items() if not count]
    for oid in trees:  # which grows meanwhile
        for name in below[oid]:
            above[name] -= 1
            if not above[name]:
                trees.append(name)
    order = {oid: number for number, oid in enumerate(trees)}
    return sorted(ranks, key=lambda oid: (ranks[oid], order.get(oid, 0), oid))
