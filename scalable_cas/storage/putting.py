"""Store objects: small ones together in a pack, large ones as files, very large ones in chunks. Keeps I1.

What is there already is not written again. The index knows it; but the index may lie, so a copy is looked at
first. A damaged copy is replaced.
"""

from __future__ import annotations

from scalable_cas.errors import CorruptObject, ObjectNotFound, ObjectUnreadable
from scalable_cas.format import compression, rows
from scalable_cas.format import header as encoded
from scalable_cas.format.chunking import SMALLEST, ChunkList
from scalable_cas.format.kinds import BLOB
from scalable_cas.storage.cutting import ARRAY_BYTES, ChunkWriter, placed_at
from scalable_cas.storage.loose import Placed

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from scalable_cas.storage.objects import Objects

    Content = bytes | bytearray | memoryview
    New = tuple[int, bytes, Content, int]  # kind, name, content, size of an item (or `AS_IT_IS`)

#: Content up to this many bytes may go into a pack; larger objects gain nothing by it and are freed more
#: cheaply by themselves.
PACKED_BYTES = 64 << 10
#: In the place of an item's size: store it raw and by itself, so that it can be mapped.
AS_IT_IS = 0


def put_all(store: Objects, objects: Sequence[New], *, sync: bool, least: int) -> dict[bytes, Placed]:
    """Store many objects (kind, name, content, and the size in bytes of the numbers that it is made of),
    and tell where each is, and each chunk of those that are stored in chunks. Children come first: chunks
    before all else. Those that are new and small go into one pack if there are ``least`` of them.

    Raises:
        StoreReadOnly: they cannot be written.
    """
    placed: dict[bytes, Placed] = {}
    small: dict[bytes, New] = {}
    large: dict[bytes, New] = {}
    cut: dict[bytes, New] = {}
    known = store.known([oid for _, oid, _, _ in objects])
    for new in objects:
        kind, oid, content, item = new
        if oid in placed:
            continue
        if item == AS_IT_IS:
            placed[oid] = store.loose.put_raw(kind, oid, content, sync=sync)
            continue
        there = whole(store, kind, oid, len(content), known[oid]) if oid in known else None
        if there is not None:
            placed |= there
        elif in_chunks(kind, content, item):
            cut[oid] = new
        elif oid in known and known[oid].place == rows.LOOSE:  # a damaged file is to be replaced
            large[oid] = new
        else:
            (small if len(content) <= PACKED_BYTES else large)[oid] = new
    if cut:
        placed |= _cut(store, list(cut.values()), sync=sync)
    if len(small) >= least:
        placed |= _pack(store, small, sync=sync)
    else:
        large = {**small, **large}
    for oid, (kind, _, content, item) in large.items():
        head, payload = encoded.encode(kind, oid, content, item)
        if head.filter:
            store.need("shuffle")
        placed[oid] = store.loose.put_encoded(head, payload, sync=sync)
    return placed


def _cut(store: Objects, objects: list[New], *, sync: bool) -> dict[bytes, Placed]:
    """Store large blobs in chunks."""
    with ChunkWriter(store, sync=sync) as writer:
        writer.put([(oid, memoryview(content), item) for _, oid, content, item in objects])
        writer.finish()
        return writer.placed


def _pack(store: Objects, objects: dict[bytes, New], *, sync: bool) -> dict[bytes, Placed]:
    """Write a pack of new objects."""
    ready, heads = [], []
    for kind, oid, content, item in objects.values():
        head, payload = encoded.encode(kind, oid, content, item)
        if head.filter:
            store.need("shuffle")
        ready.append((oid, b"".join((head.pack(), payload))))
        heads.append(head)
    written = store.packs.write(ready, sync=sync)
    placed = {}
    for (oid, (offset, length)), head in zip(written.places.items(), heads, strict=True):
        placed[oid] = Placed(
            written.inode,
            written.changed,
            length,
            head.coding,
            kind=head.kind,
            size=head.raw_size,
            pack=written.name,
            offset=offset,
        )
    return placed


def whole(
    store: Objects, kind: int, oid: bytes, size: int, row: rows.ObjectRow
) -> dict[bytes, Placed] | None:
    """Where the index says that an object is, with its chunks, if it is there and whole; None if it must
    be written. The index may lie (files were damaged or removed), so it is not taken at its word: a copy
    is read and checked, which costs less than writing one. Only of files of their own, and of chunks,
    which may be large, no more is asked than that they are there.
    """
    if row.place == rows.LOOSE:
        there = store.loose.whole(kind, oid, size)
        if there is not None:
            return {oid: there}
    seen = store.packs.stat(row.pack) if row.place == rows.PACK else store.loose.stat(oid)
    if seen is None:
        return None
    try:
        if row.place == rows.PACK:
            head, content = store.packed(oid, (row.pack, row.offset, row.stored), 1, size)
        elif row.coding == encoded.CHUNKED:
            head, content = store.loose.get(oid, largest=size)
        else:
            return None
    except CorruptObject:
        if row.pack:
            store.damaged.add(row.pack)
        return None
    except (ObjectNotFound, ObjectUnreadable):
        return None
    if head.kind != kind or head.raw_size != size:
        return None
    place = placed_at(row, seen, head)
    return _with_chunks(store, oid, place, content) if isinstance(content, ChunkList) else {oid: place}


def _with_chunks(store: Objects, oid: bytes, place: Placed, listed: ChunkList) -> dict[bytes, Placed] | None:
    """A blob in chunks, and those, if all are there."""
    known = store.known([name for name, _ in listed.chunks])
    found = {oid: place}
    packs: dict[bytes, os.stat_result | None] = {}
    for name, length in listed.chunks:
        if name in found:
            continue
        row = known.get(name)
        if row is None or row.size != length or row.coding == encoded.CHUNKED:
            return None
        if row.pack not in packs:
            packs[row.pack] = store.packs.stat(row.pack) if row.pack else None
        seen = packs[row.pack] if row.pack else store.loose.stat(name)
        if seen is None:
            return None
        found[name] = placed_at(row, seen)
    return found


def in_chunks(kind: int, content: Content, item: int) -> bool:
    """Whether content is to be stored in chunks: large blobs, but for raw arrays that are very large."""
    if kind != BLOB or len(content) < SMALLEST:
        return False
    return item == 1 or len(content) <= ARRAY_BYTES or compression.plan(content, item) is not None
