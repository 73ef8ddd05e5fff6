"""Write a bundle: chosen functions' entries, with all that they need, in one file that is written in order
(docs/reference/bundle-v1.md). Plans first; changes nothing in the store.

What was made here is signed. What came from elsewhere goes into a segment of its own without a signature:
ours under it would say that we made it, and whoever trusts us would then run a stranger's pickles.
"""

from __future__ import annotations

import os

from blake3 import blake3

from scalable_cas import clock
from scalable_cas.errors import CorruptObject, ObjectNotFound, ObjectUnreadable, ScalableCasError
from scalable_cas.format import bundle, segment
from scalable_cas.format import pack as packed
from scalable_cas.format.header import HEADER_BYTES
from scalable_cas.ops.closure import children
from scalable_cas.ops.listing import entries
from scalable_cas.storage import incoming

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from scalable_cas.format.header import Header
    from scalable_cas.format.segment import ObjectPlace
    from scalable_cas.ops.listing import Entry
    from scalable_cas.storage.signing import SigningKey
    from scalable_cas.store.core import StoreCore

#: Stored bytes from which on an object is a part of its own, and bytes of a pack: as on remotes.
BIG, TARGET = 8 << 20, 32 << 20
#: Records of one segment; their places are at most as many again, but for values of very many buffers.
RECORDS = 100_000
_PIECE = 1 << 20


class Item:
    """An entry that goes into a bundle: its packed record, and the names of its objects, children first."""

    __slots__ = ("data", "foreign", "needs")

    def __init__(self, data: bytes, needs: tuple[bytes, ...], *, foreign: bool) -> None:
        self.data = data
        self.needs = needs
        self.foreign = foreign


class BundlePlan:
    """What a bundle would hold: ``items``; ``objects``, the name of each object once, in the order of
    writing; ``bytes`` that they take; ``left_out``, the call keys of entries whose value is not whole here.
    """

    __slots__ = ("bytes", "items", "left_out", "objects")

    def __init__(
        self, items: tuple[Item, ...], objects: tuple[bytes, ...], size: int, left_out: tuple[str, ...]
    ) -> None:
        self.items = items
        self.objects = objects
        self.bytes = size
        self.left_out = left_out

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(self, name):
            raise AttributeError("a plan does not change")
        object.__setattr__(self, name, value)


class Bundled:
    """What was written: counts of ``entries``, of those that are ``unsigned``, of ``objects``; ``bytes``."""

    def __init__(self) -> None:
        self.entries = 0
        self.unsigned = 0
        self.objects = 0
        self.bytes = 0


def plan_bundle(store: StoreCore, functions: Iterable[bytes] | None = None) -> BundlePlan:
    """Plan a bundle of the entries of some functions (ids of 8 bytes), or of all. Changes nothing.

    Raises:
        IndexDamaged: a record cannot be read. ObjectUnreadable: nor can an object.
    """
    items, left_out = [], []
    objects: dict[bytes, int] = {}
    for entry in entries(store, functions):
        needs = _needs(store, entry)
        if needs is None:
            left_out.append(entry.key)
            continue
        items.append(Item(entry.record.pack(), tuple(needs), foreign=entry.foreign))
        objects.update(needs)
    return BundlePlan(tuple(items), tuple(objects), sum(objects.values()), tuple(left_out))


def _needs(store: StoreCore, entry: Entry) -> dict[bytes, int] | None:
    """The names of an entry's objects with their stored sizes, children first; None if one is missing."""
    found: dict[bytes, int] = {}

    def walk(kind: int, oid: bytes) -> None:
        if oid in found:
            return
        place = store.objects.place(oid)
        if place is None:
            raise ObjectNotFound(oid.hex())
        for below, name in children(store.objects, kind, oid):
            walk(below, name)
        found[oid] = place.stored

    try:
        walk(entry.record.kind, entry.record.oid)
    except (ObjectNotFound, CorruptObject):
        return None
    return found


def write_bundle(
    store: StoreCore,
    plan: BundlePlan,
    write: Callable[[bytes | memoryview], object],
    key: SigningKey | None,
    progress: Callable[[int, int], None] | None = None,
) -> Bundled:
    """Write a bundle through ``write``, in order. ``key`` signs what was made here; without one nothing is
    signed. ``progress(bytes done, in all)``.

    Raises:
        ScalableCasError: an object turned out to be damaged. What was written is then no bundle.
    """
    result = Bundled()
    out = _Writer(write, plan.bytes, progress)
    places: dict[bytes, ObjectPlace] = {}
    try:
        for place in _write_objects(store, plan.objects, out):
            places[place.oid] = place
    except (CorruptObject, ObjectNotFound, ObjectUnreadable) as error:
        raise ScalableCasError(f"{error}; `scalable-cas verify --repair`, then bundle again") from error
    told: set[bytes] = set()
    for foreign in (False, True):
        items = [item for item in plan.items if item.foreign is foreign]
        for group in _groups(items):
            wanted = dict.fromkeys(oid for item in group for oid in item.needs if oid not in told)
            told.update(wanted)
            records = tuple(item.data for item in group)
            out.segment(records, tuple(places[oid] for oid in wanted), None if foreign else key)
            result.unsigned += len(group) if foreign or key is None else 0
    out.finish()
    result.entries, result.objects, result.bytes = len(plan.items), len(plan.objects), out.at
    return result


def _groups(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Entries that fit into one segment each."""
    group: list[Item] = []
    places = size = 0
    for item in items:
        more = len(item.data) + 4 + (segment.PLACE_BYTES + 32) * len(item.needs)
        full = len(group) == RECORDS or places + len(item.needs) > segment.MOST_PLACES
        if group and (full or size + more > segment.LARGEST_BODY):
            yield group
            group, places, size = [], 0, 0
        group.append(item)
        places += len(item.needs)
        size += more
    if group:
        yield group


def _write_objects(store: StoreCore, oids: Iterable[bytes], out: _Writer) -> Iterator[ObjectPlace]:
    """Write objects, and yield where each is."""
    batch: list[tuple[Header, bytes]] = []
    size = 0
    for oid in oids:
        head = store.objects.head(oid)
        # chunks, which are never larger than 16 MiB, lie in packs
        if head.stored_size + HEADER_BYTES >= BIG and store.objects.loose.stat(oid) is not None:
            yield _write_large(store, oid, out)
            continue
        data = store.objects.encoded(oid)
        batch.append((incoming.check(oid, data).head, data))
        size += len(data)
        if size >= TARGET:
            yield from _write_pack(batch, out)
            batch, size = [], 0
    if batch:
        yield from _write_pack(batch, out)


def _write_pack(batch: list[tuple[Header, bytes]], out: _Writer) -> Iterator[ObjectPlace]:
    data, spots = packed.assemble([(head.oid, item) for head, item in batch])
    name: bytes = blake3(data).digest()
    out.part(bundle.PACK, name, (data,))
    for head, _ in batch:
        offset, length = spots[head.oid]
        yield segment.ObjectPlace(head.oid, head.kind, head.coding, head.raw_size, name, offset, length)


def _write_large(store: StoreCore, oid: bytes, out: _Writer) -> ObjectPlace:
    """An object as a part of its own, read a piece at a time; large ones are files of their own here too."""
    path = store.objects.loose.path(oid)
    head = incoming.check_file(oid, path).head
    length = HEADER_BYTES + head.stored_size
    try:
        with open(path, "rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size != length:
                raise CorruptObject(oid.hex(), "it was changed meanwhile")
            out.part(bundle.OBJECT, oid, iter(lambda: file.read(_PIECE), b""))
    except OSError as error:
        raise ObjectUnreadable(oid.hex(), error.strerror or str(error)) from error
    return segment.ObjectPlace(oid, head.kind, head.coding, head.raw_size, b"", 0, length)


class _Writer:
    """The bytes of a bundle in order: counts them, hashes them, remembers the parts."""

    def __init__(
        self,
        write: Callable[[bytes | memoryview], object],
        total: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.at = 0
        self._write = write
        self._total = total
        self._progress = progress
        self._digest = bundle.hasher()
        self._parts: list[bundle.Part] = []
        self._put(bundle.HEAD)

    def _put(self, data: bytes) -> None:
        self._write(data)
        self._digest.update(data)
        self.at += len(data)
        if self._progress is not None:
            self._progress(min(self.at, self._total), self._total)

    def part(self, type_: int, name: bytes, pieces: Iterable[bytes]) -> None:
        """Write one part."""
        start = self.at
        for piece in pieces:
            self._put(piece)
        self._parts.append(bundle.Part(type_, start, self.at - start, name))

    def segment(
        self, records: tuple[bytes, ...], places: tuple[ObjectPlace, ...], key: SigningKey | None
    ) -> None:
        """Write a segment, signed if there is a key."""
        public = key.public if key is not None else segment.UNSIGNED
        made = segment.Segment(bundle.REMOTE_ID, public, os.urandom(16), clock.now_ns(), records, places)
        data = segment.pack(made, key.sign if key is not None else None)
        self.part(bundle.SEGMENT, blake3(data).digest(), (data,))

    def finish(self) -> None:
        """Write table and end."""
        start = self.at
        self._put(bundle.pack_table(self._parts))
        self._put(bundle.pack_end(len(self._parts), start, self._digest.digest()))
