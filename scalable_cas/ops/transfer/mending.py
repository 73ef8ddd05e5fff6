"""Put back what was found missing or damaged in a remote, in its place, from what is here: packs and large
objects from the objects of this store, files of segments from the copies in the view.

A file is only ever replaced by exactly the content that its name or its signature promises (I1). What cannot
be put back so is sent anew by the push that this is a part of, to other files.
"""

from __future__ import annotations

from blake3 import blake3

from scalable_cas.errors import CorruptObject, ObjectNotFound, ObjectUnreadable
from scalable_cas.format import joined as joins
from scalable_cas.format import remote_layout as layout
from scalable_cas.format.pack import assemble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.format.segment import ObjectPlace
    from scalable_cas.ops.transfer.repository import Repository


def mend_packs(repository: Repository) -> dict[bytes, tuple[ObjectPlace, ...]]:
    """Put back the damaged packs of which this store has all objects; returns them, with what is in them."""
    view = repository.view
    damaged = view.damaged()
    elsewhere = view.has_all(sorted(damaged))
    lost = {oid: there for oid, there in damaged.items() if oid not in elsewhere}
    holders = {holder for there in lost.values() for holder in there if holder}
    mended: dict[bytes, tuple[ObjectPlace, ...]] = {}
    for holder, places in view.in_pack(holders).items():
        data = _pack(repository, places)
        if data is not None and blake3(data).digest() == holder:
            repository.remote.put(layout.pack_name(holder), data, exclusive=False)
            view.note_good(places)
            mended[holder] = tuple(places)
    return mended


def _pack(repository: Repository, places: list[ObjectPlace]) -> bytes | None:
    """The pack with these objects, as far as they are here as they were sent."""
    pieces = []
    for place in places:
        try:
            pieces.append((place.oid, repository.store.objects.encoded(place.oid)))
        except (ObjectNotFound, CorruptObject, ObjectUnreadable):
            return None
    return assemble(pieces)[0]


def mend_segments(repository: Repository) -> int:
    """Put back the damaged files of segments that the view has copies of; returns how many those are."""
    mended = []
    bad = repository.view.bad_files()
    joined = repository.view.joined() if bad else {}
    for name in bad:
        number, id_ = layout.segment_number(name), layout.joined_id(name)
        data = None
        if number is not None:
            data = repository.copy(number)
        elif id_ is not None and id_ in joined:
            parts = {part: repository.copy(part) for part in joined[id_]}
            whole = {part: copy for part, copy in parts.items() if copy is not None}
            packed = joins.pack(whole)
            data = packed if blake3(packed).digest() == id_ else None
        if data is not None:
            repository.remote.put(name, data, exclusive=False)
            mended.append(name)
    if mended:
        repository.view.note_files({name: "" for name in bad if name not in mended})
    return len(mended)
