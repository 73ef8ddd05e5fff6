"""Objects move from file to file: out of packs with dead or damaged objects, and from many small files into
few large ones. Keeps I1, I2 and I5.

The problem: a pack never changes, so what is no longer needed goes by writing a new pack without it; and
while the new one is written, others read the old one, store what it holds already, and collect. What we do:
the new pack is written and synced without the lock, byte for byte what the old files hold, each object
checked. Then under the lock each row that still names an old place is changed to the new one, and with the
rows the epoch becomes odd; still under the lock the old files go; then the epoch becomes even. A row that
came to name the old pack meanwhile keeps it. A writer that had found an object at its old place sees another
epoch and puts it again (docs/explanation/gc.md); a reader that finds the old file gone asks the index again.
A kill at any point leaves the objects at one place or at both. A pack in which damage was found is not
removed but set aside.
"""

from __future__ import annotations

from blake3 import blake3

from scalable_cas.errors import CorruptObject, IndexDamaged, ObjectNotFound, ObjectUnreadable
from scalable_cas.format import pack as packed
from scalable_cas.format import rows
from scalable_cas.format.chunking import ChunkList
from scalable_cas.storage import fs
from scalable_cas.storage.chunks import check
from scalable_cas.storage.reading import checked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from scalable_cas.storage.index import Changes
    from scalable_cas.storage.packs import Written
    from scalable_cas.store.core import StoreCore

#: Loose files removed under one lock: some ms, which is how long a writer may have to wait.
BATCH = 200
#: Rows changed in one transaction: the same.
ROWS = 2000


class Moved:
    """What a move did: ``objects`` dropped that nothing names, ``bytes`` freed (less what was written), files
    (``packs``, ``loose``) removed.
    """

    def __init__(self) -> None:
        self.objects = 0
        self.bytes = 0
        self.packs = 0
        self.loose = 0

    def add(self, more: Moved) -> None:
        """Count what another move did, too."""
        self.objects += more.objects
        self.bytes += more.bytes
        self.packs += more.packs
        self.loose += more.loose


class _Source:
    """An old pack. ``kept``: the bytes of each object that is needed; ``damaged`` objects;
    how many are ``dead``; ``whole``: its bytes are what its name promises; ``going``: it can be removed.
    """

    def __init__(self, name: bytes, data: bytes) -> None:
        self.name = name
        self.size = len(data)
        self.table = packed.read_table(data)
        self.whole = not self.table.reason and blake3(data).digest() == name
        self.kept: dict[bytes, bytes] = {}
        self.damaged: set[bytes] = set()
        self.dead = 0
        self.going = True

    def sort(self, store: StoreCore, data: bytes, dead: Collection[bytes], wrong: Collection[bytes]) -> None:
        """Decide about each object."""
        gone = set(_unneeded(store, self.name, self.table, dead))
        for member in sorted(self.table, key=lambda member: member.offset):
            if member.oid in gone:
                self.dead += member.oid in dead
                continue
            piece = data[member.offset : member.offset + member.length]
            # the digest of all covers each
            if member.oid not in wrong and (self.whole or _is_whole(member.oid, piece)):
                self.kept[member.oid] = piece
            else:
                self.damaged.add(member.oid)

    def unchanged(self) -> bool:
        """Whether a new pack would be this one."""
        return self.whole and len(self.kept) == len(self.table)


def _is_whole(oid: bytes, data: bytes) -> bool:
    try:
        checked(oid, data)
    except CorruptObject:
        return False
    return True


def _unneeded(
    store: StoreCore, name: bytes, table: packed.Table, dead: Collection[bytes], *, planned: bool = False
) -> list[bytes]:
    """The objects of a pack that need not be kept there: those in ``dead`` that no row names (``planned``: or
    some row still does), and those that lie elsewhere too, where the index says.
    """
    known = store.objects.known([member.oid for member in table])
    there: dict[bytes, bool] = {name: True}
    found = []
    for member in table:
        row = known.get(member.oid)
        if row is None or (planned and member.oid in dead):
            if member.oid in dead:
                found.append(member.oid)
        elif row.pack != name:
            if row.place == rows.LOOSE:
                elsewhere = store.objects.loose.stat(member.oid) is not None
            else:
                if row.pack not in there:
                    there[row.pack] = store.objects.packs.stat(row.pack) is not None
                elsewhere = there[row.pack]
            if elsewhere:
                found.append(member.oid)
    return found


def shrinkage(store: StoreCore, name: bytes, dead: Collection[bytes], *, planned: bool = False) -> int:
    """How many bytes are freed when a pack is written anew without what is not needed; ``dead`` and
    ``planned`` as in a plan: rows may still name the dead.
    """
    table, seen = store.objects.packs.table(name), store.objects.packs.stat(name)
    if table is None or seen is None:
        return 0
    gone = set(_unneeded(store, name, table, dead, planned=planned))
    if len(gone) == len(table):
        return seen.st_size
    return sum(packed.ROW_BYTES + member.length for member in table if member.oid in gone)


def rewrite(
    store: StoreCore,
    names: Sequence[bytes],
    loose: Sequence[bytes] = (),
    *,
    dead: Collection[bytes] = (),
    wrong: Collection[bytes] = (),
) -> Moved:
    """Move what is needed of some packs, and some ``loose`` objects that the index knows, into one new pack,
    and remove the old files. ``dead``: objects that are not needed where no row names them; ``wrong``: those
    that pass for whole and are not. A single pack of which everything is whole and needed stays as it is.

    Raises:
        StoreReadOnly, StoreBusy: nothing was removed.
        IndexDamaged: the index is being filled, and knows too little.
        ObjectUnreadable: the system would not let us read a pack.
    """
    result = Moved()
    sources = _sources(store, names, dead, wrong)
    if not sources and not loose:
        return result
    if not loose and len(sources) == 1 and sources[0].unchanged():
        return result
    single = _loose(store, loose)
    pieces: dict[bytes, bytes] = dict(single)
    for source in sources:
        pieces.update(source.kept)
    written = None
    if pieces:
        written = store.objects.packs.write(list(pieces.items()), sync=False)
        # the old ones go: the new one must be safe from a power cut before
        fs.sync_paths([store.objects.packs.path(written.name)])
    if sources:
        _switch(store, sources, written, result)
    if written is not None:
        for at in range(0, len(single), BATCH):
            _switch_loose(store, list(single)[at : at + BATCH], written, result)
        result.bytes -= written.size
    return result


def _sources(
    store: StoreCore, names: Sequence[bytes], dead: Collection[bytes], wrong: Collection[bytes]
) -> list[_Source]:
    found = []
    for name in names:
        try:
            data = store.objects.packs.load(name)
        except FileNotFoundError:
            continue
        source = _Source(name, data)
        source.sort(store, data, dead, wrong)
        found.append(source)
    return found


def _loose(store: StoreCore, oids: Sequence[bytes]) -> dict[bytes, bytes]:
    """The bytes of loose objects; damaged ones are left where they are, for a read or `verify` to find."""
    found = {}
    for oid in oids:
        try:
            data = store.objects.loose.encoded(oid)
        except (ObjectNotFound, CorruptObject, ObjectUnreadable):
            continue
        if _is_whole(oid, data):
            found[oid] = data
    return found


def _point(store: StoreCore, source: _Source, written: Written, oids: list[bytes]) -> None:
    """Have the rows of some objects name the new pack. Both are there, so any order is right."""

    def change(changes: Changes) -> None:
        for oid in oids:
            row = changes.object_row(oid)
            if row is not None and row.pack == source.name:
                changes.put_object(oid, row.moved(written.name, written.places[oid][0]))

    store.index.write(change)


def _switch(store: StoreCore, sources: list[_Source], written: Written | None, result: Moved) -> None:
    """Have the rows name the new pack, and remove the old ones."""
    # damage aside, the same objects in the same order are the same pack: it has been replaced in its place
    old = [source for source in sources if written is None or source.name != written.name]

    # Most rows beforehand and in pieces, so that nobody waits long for the lock; the last look is at all.
    for source in old:
        kept = list(source.kept) if written is not None else []
        for at in range(0, len(kept), ROWS):
            assert written is not None
            _point(store, source, written, kept[at : at + ROWS])

    def change(changes: Changes) -> None:
        _begin(store, changes)
        for source in old:
            source.going = True
            for member in source.table:
                row = changes.object_row(member.oid)
                if row is None or row.pack != source.name:
                    continue
                if member.oid in source.kept and written is not None:
                    changes.put_object(member.oid, row.moved(written.name, written.places[member.oid][0]))
                elif member.oid in source.damaged:
                    changes.drop_object(member.oid)
                else:  # named since we looked
                    source.going = False

    with store.index.environment.locked():
        store.index.write(change)
        for source in old:
            if not source.going:
                continue
            broken = source.damaged or not source.whole
            remove = store.objects.packs.quarantine if broken else store.objects.packs.delete
            if remove(source.name):
                result.packs += 1
                result.objects += source.dead
                result.bytes += source.size
        _end(store)
    if len(old) < len(sources):
        result.bytes += written.size if written is not None else 0


def _switch_loose(store: StoreCore, oids: list[bytes], written: Written, result: Moved) -> None:
    """The same for some loose objects."""
    going: list[bytes] = []

    def change(changes: Changes) -> None:
        _begin(store, changes)
        going.clear()
        for oid in oids:
            row = changes.object_row(oid)
            if row is not None and row.place == rows.LOOSE:
                changes.put_object(oid, row.moved(written.name, written.places[oid][0]))
                going.append(oid)

    with store.index.environment.locked():
        store.index.write(change)
        _remove_loose(store, going, result)
        _end(store)


def drop_copies(store: StoreCore, oids: Sequence[bytes]) -> Moved:
    """Remove loose files of objects that lie in a pack too, which is where the index says.

    Raises:
        StoreReadOnly, StoreBusy, IndexDamaged: as `rewrite`.
    """
    result = Moved()
    for at in range(0, len(oids), BATCH):
        going: list[bytes] = []

        def change(changes: Changes, at: int = at, going: list[bytes] = going) -> None:
            _begin(store, changes)
            going.clear()
            for oid in oids[at : at + BATCH]:
                row = changes.object_row(oid)
                if row is not None and row.pack and store.objects.packs.stat(row.pack) is not None:
                    going.append(oid)

        with store.index.environment.locked():
            store.index.write(change)
            _remove_loose(store, going, result)
            _end(store)
    return result


def _remove_loose(store: StoreCore, oids: list[bytes], result: Moved) -> None:
    for oid in oids:
        seen = store.objects.loose.stat(oid)
        if seen is not None and store.objects.loose.delete(oid):
            result.loose += 1
            result.bytes += seen.st_size


def _begin(store: StoreCore, changes: Changes) -> None:
    """The epoch becomes odd: files are being removed."""
    if not changes.number("filled"):
        raise IndexDamaged(store.index.path, "it is being rebuilt, or that was cut short")
    before = changes.number("epoch")
    changes.set_number("epoch", before + 1 + before % 2)


def _end(store: StoreCore) -> None:
    store.index.write(lambda changes: changes.next_number("epoch"))


def set_aside(store: StoreCore, oid: bytes) -> bool:
    """Move a damaged object out of the way, to ``quarantine/``: its file, or the pack that it is in, after
    everything else in there was saved. False if no damaged copy was found.

    Raises:
        StoreReadOnly, StoreBusy, IndexDamaged, ObjectUnreadable: as `rewrite`.
    """
    done = False
    try:
        found = store.objects.loose.get(oid)[1]
        if isinstance(found, ChunkList) and not _holds(store, oid, found):
            done = store.objects.loose.quarantine(oid)
    except (ObjectNotFound, ObjectUnreadable):
        pass
    except CorruptObject:
        done = store.objects.loose.quarantine(oid)
    row = store.objects.known((oid,)).get(oid)
    spot = (
        (row.pack, row.offset, row.stored) if row is not None and row.pack else store.objects.packs.find(oid)
    )
    if spot is not None:
        done = rewrite(store, [spot[0]], wrong=_wrong_list(store, oid, spot)).packs > 0 or done
    return done


def _wrong_list(store: StoreCore, oid: bytes, spot: tuple[bytes, int, int]) -> frozenset[bytes]:
    """The object, if it is a list of chunks that are whole but not what its name promises: of a list itself
    only the checksum can be told.
    """
    try:
        found = store.objects.packed(oid, spot, 1, None)[1]
    except (ObjectNotFound, CorruptObject, ObjectUnreadable):
        return frozenset()
    wrong = isinstance(found, ChunkList) and not _holds(store, oid, found)
    return frozenset((oid,)) if wrong else frozenset()


def _holds(store: StoreCore, oid: bytes, listed: ChunkList) -> bool:
    """Whether a list of chunks can stay where it is; what is wrong with a chunk is the chunk's fault."""
    try:
        check(store.objects, oid, listed)
    except CorruptObject:
        return False
    except ObjectUnreadable:
        return True
    return True
