"""Join packs: of a remote that is pushed to ten thousand times, a result at a time, the objects come to lie
in a few packs, so that a reader fetches them in a few requests (remote-layout-v1, section 5).

The problem: each push makes a pack of its own, and a reader needs a request for each. To rewrite what is
there in place would need a lock, and to rewrite all of it each time would cost the square of its size. What
we do: whoever pushes and finds many segments also copies the objects of the small packs into a larger one,
and writes a segment that says so, the pack first. It has no records: who signed an entry stays as it was, and
an object needs no signature, because its name is its digest. Readers take the place of the youngest segment,
and the older ones if that is damaged or gone. The old packs stay until a collector finds them replaced.

As many of the smallest packs go together as there are, as long as the largest of them is not more than twice
as large as all others: so the sizes of those that are left grow geometrically, their number with the
logarithm of all, and each object is copied that often. Two who do it at once write two packs that hold the
same, of which the collector takes one; a kill leaves a pack that no segment names.

What is here is not downloaded. A blob in chunks is an exception: the list of its chunks that is here may name
other chunks than the remote has, so it is copied from there, byte for byte.
"""

from __future__ import annotations

from blake3 import blake3

from scalable_cas.errors import CorruptObject, RemoteFileMissing
from scalable_cas.format import header
from scalable_cas.format import remote_layout as layout
from scalable_cas.format.pack import assemble
from scalable_cas.format.segment import LATEST, ObjectPlace
from scalable_cas.ops.transfer.committing import commit
from scalable_cas.ops.transfer.learning import SMALL_PACK
from scalable_cas.ops.transfer.packing import Packing
from scalable_cas.ops.transfer.push_plan import facts
from scalable_cas.ops.transfer.segments import LONGEST_READ
from scalable_cas.storage import incoming
from scalable_cas.storage.putting import PACKED_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scalable_cas.ops.transfer.repository import Repository

    Found = list[tuple[int, ObjectPlace]]

#: Bytes of a joined pack: what a push takes upon itself at most, down and up, of small objects and of middle
#: ones each; 0.2 s on a fast line.
MOST_BYTES = 2 * SMALL_PACK
#: Packs that are joined at a time, each a request if its objects are not here: 0.5 s with four connections.
MOST_PACKS = 64


def prefix(sizes: Sequence[int], most: int, base: int = 0) -> int:
    """How many of these sizes, in ascending order, to join with ``base`` bytes: as many as possible, so that
    the largest of them is not more than twice as large as all that comes with it. ``most``: bytes in all.
    """
    chosen, size = 0, base
    for number, length in enumerate(sizes, 1):
        if size + length > most:
            break
        if length <= 2 * size:
            chosen = number
        size += length
    return chosen


def join_packs(repository: Repository, *, thorough: bool = False) -> list[tuple[bytes, str, int]]:
    """Join small packs, as far as the view knows them; ``thorough``: until there is nothing more to join.
    Returns number, file and length of the segments that were written. Keeps I1 and I2: nothing is removed,
    and every object is checked before it is written.

    Raises:
        RemoteError: the remote could not be read or written; what was done so far is right.
        StoreReadOnly, StoreBusy: the view cannot be written.
    """
    written = []
    while True:
        more = [done for group in choose(repository) if (done := _join(repository, group)) is not None]
        written += more
        if not more or not thorough:
            return written


def choose(repository: Repository) -> list[Found]:
    """The objects of small packs that are to be joined, as the packs that are to be made. Small objects and
    middle ones go to different packs, as where they are pushed.
    """
    units: tuple[list[tuple[int, Found]], ...] = ([], [])
    for there in repository.view.small_packs().values():
        for middle, group in enumerate(units):
            mine = [item for item in there if _is_middle(item[1]) == bool(middle)]
            if mine and _is_sane(mine):
                group.append((sum(place.length for _, place in mine), mine))
    found = []
    for group in units:
        group.sort(key=lambda unit: (unit[0], unit[1][0][1].holder))
        chosen = group[: prefix([size for size, _ in group[:MOST_PACKS]], MOST_BYTES)]
        # the oldest first, each pack's in their order: what a push wrote together stays together
        chosen.sort(key=lambda unit: (unit[1][0][0], unit[1][0][1].holder))
        if chosen:
            found.append([item for _, mine in chosen for item in mine])
    return found


def _is_middle(place: ObjectPlace) -> bool:
    """Whether an object is one of the larger ones; of a list of chunks its own length counts."""
    size = place.length if place.coding == header.CHUNKED else place.raw_size
    return size > PACKED_BYTES


def _is_sane(found: Found) -> bool:
    """Whether objects of a pack, in their order, can be read in one request, and be given a younger place:
    nobody honest has others, but an enemy would have us read gigabytes, or join for ever.
    """
    first, last = found[0][1], found[-1][1]
    near = last.offset + last.length - first.offset <= LONGEST_READ
    return near and all(created < LATEST for created, _ in found)


def _join(repository: Repository, group: Found) -> tuple[bytes, str, int] | None:
    """Write these objects to a pack, and a segment that names it; None if that cannot be done."""
    data = dict(_here(repository, [place for _, place in group]))
    packs: dict[bytes, list[ObjectPlace]] = {}
    for _, place in group:
        if place.oid not in data:
            packs.setdefault(place.holder, []).append(place)
    for found in repository.crew.map(lambda places: _fetch(repository, places), packs.values()):
        data.update(found)
    whole = [item for item in group if item[1].oid in data]
    if len({place.holder for _, place in whole}) < 2:
        return None
    content, spots = assemble([(place.oid, data[place.oid]) for _, place in whole])
    name: bytes = blake3(content, max_threads=1).digest()
    if repository.view.is_condemned_file(name):  # a collector is about to remove the same; the next one joins
        return None
    file = layout.pack_name(name)
    if not repository.remote.put(file, content) and repository.remote.size(file) != len(content):
        repository.remote.put(file, content, exclusive=False)  # whoever sent it was cut short
    places = []
    for oid, (offset, length) in spots.items():
        head = header.unpack(data[oid][: header.HEADER_BYTES])
        places.append(ObjectPlace(oid, head.kind, head.coding, head.raw_size, name, offset, length))
    return commit(repository, (), places, after=max(created for created, _ in whole))


def _here(repository: Repository, places: Sequence[ObjectPlace]) -> Iterator[tuple[bytes, bytes]]:
    """Those of some objects that are in this store, and not in chunks. Not more than a pack of them:
    that they are small is what the remote says, and whoever may write there may say so of the largest.
    """
    objects = repository.store.objects
    whole = [place.oid for place in places if place.coding != header.CHUNKED]
    known = [item for item in facts(objects, whole).values() if item is not None]
    wanted, size = [], 0
    for item in known:
        if item.coding != header.CHUNKED and item.stored <= SMALL_PACK and size + item.stored <= MOST_BYTES:
            wanted.append(item)
            size += item.stored
    for item, data in Packing(objects).read(wanted):
        if header.unpack(data[: header.HEADER_BYTES]).coding != header.CHUNKED:
            yield item.oid, bytes(data)


def _fetch(repository: Repository, places: Sequence[ObjectPlace]) -> dict[bytes, bytes]:
    """Objects of one pack there, checked; what is damaged or gone is noted, and left where it is."""
    start = places[0].offset
    length = places[-1].offset + places[-1].length - start
    name = layout.pack_name(places[0].holder)
    for _ in range(2):  # what was damaged on its way is whole the second time
        found: dict[bytes, bytes] = {}
        try:
            data = repository.remote.get(name, largest=length, offset=start, length=length)
        except RemoteFileMissing:
            break
        for place in places:
            piece = data[place.offset - start : place.offset - start + place.length]
            try:
                incoming.check(place.oid, piece)
            except CorruptObject:
                continue
            found[place.oid] = piece
        if len(found) == len(places):
            return found
    repository.view.note_bad([place for place in places if place.oid not in found], "missing or damaged")
    return found
