"""Fetch objects from a remote with all that they name, each checked before it gets its name (I5, I7).

Which objects an object names is only known when it is here, so they come level by level: roots, what those
name, and so on. On each level what lies near to each other in a pack comes in one request. A copy that is
missing or damaged there is noted, for the next push to send it again, and another one is tried.
"""

from __future__ import annotations

from typing import NamedTuple

from scalable_cas.errors import CorruptObject, ObjectNotFound, ObjectUnreadable, RemoteFileMissing
from scalable_cas.format import remote_layout as layout
from scalable_cas.format import rows
from scalable_cas.format.kinds import BLOB
from scalable_cas.format.segment import ObjectPlace
from scalable_cas.ops.closure import children, children_of
from scalable_cas.ops.transfer.packing import TARGET
from scalable_cas.ops.transfer.segments import GAP, LONGEST_READ
from scalable_cas.storage import incoming
from scalable_cas.storage.loose import Placed
from scalable_cas.storage.objects import PACKED_BYTES
from scalable_cas.store.adopting import Arrived
from scalable_cas.store.writer import PACK_LEAST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from scalable_cas.format.header import Header
    from scalable_cas.ops.transfer.repository import Repository

    Below = tuple[tuple[int, bytes], ...]

#: What one request costs, in bytes that could have been read meanwhile: 25 to 100 ms at 10 to 40 MB/s.
REQUEST_BYTES = 1 << 20


class _Got(NamedTuple):
    """One object that came: its place, header, and what it names; ``data``: encoded, where it is to go into a
    pack here; ``placed``: where it was put otherwise. ``fault``: why it cannot be used.
    """

    place: ObjectPlace
    fault: str = ""
    head: Header | None = None
    below: Below = ()
    data: bytes = b""
    content: bytes | None = None
    placed: Placed | None = None


class _Span(NamedTuple):
    """One request: a piece of a pack (``holder``), or a big object (empty ``holder``), and the objects wanted
    of it.
    """

    holder: bytes
    offset: int
    length: int
    places: tuple[ObjectPlace, ...]


class Fetcher:
    """Fetches the objects of some entries. ``arrived``: where they are now, those that were here before
    included; ``contents``: the contents of those that are small enough to be copied into a row; ``faults``:
    why an object could not be had.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._remote = repository.remote
        self._objects = repository.store.objects
        self._view = repository.view
        self._below: dict[bytes, Below] = {}
        self._small: dict[bytes, tuple[Header, bytes]] = {}
        self._small_bytes = 0
        self.arrived: dict[bytes, Arrived] = {}
        self.contents: dict[bytes, bytes] = {}
        self.faults: dict[bytes, str] = {}
        self.fetched = 0

    def fetch(self, roots: Iterable[bytes]) -> None:
        """Fetch these objects and all that they reach, as far as they are not here.

        Raises:
            RemoteError: the remote could not be read.
            StoreReadOnly: they cannot be written.
        """
        level = list(dict.fromkeys(roots))
        seen = set(level)
        while level:
            self._get(self._lacking(level))
            below: dict[bytes, None] = {}
            for oid in level:
                below.update((child, None) for _, child in self._below.get(oid, ()) if child not in seen)
            level = list(below)
            seen.update(level)
        self._write_small()

    def closure(self, oid: bytes) -> tuple[bytes, ...] | None:
        """The names of all objects that one reaches, itself last; None if one of them could not be had."""
        found: dict[bytes, None] = {}
        stack = [oid]
        while stack:
            current = stack.pop()
            if current in found:
                continue
            if current not in self.arrived:
                return None
            found[current] = None
            stack.extend(child for _, child in self._below.get(current, ()))
        return tuple(reversed(found))

    def blame(self, oid: bytes) -> tuple[bytes, str]:
        """The object, of all that one reaches, that could not be had, and why."""
        stack, seen = [oid], {oid}
        while stack:
            current = stack.pop()
            if current not in self.arrived:
                return current, self.faults.get(current, "it could not be had")
            below = [child for _, child in self._below.get(current, ()) if child not in seen]
            seen.update(below)
            stack.extend(below)
        return oid, "it could not be had"

    # --- what is here ----------------------------------------------------------------------------------

    def _lacking(self, oids: Sequence[bytes]) -> list[bytes]:
        """Those of some objects that are not here. Of what is here, also that is learned which it names."""
        known = self._objects.known(oids)
        packs: dict[bytes, Placed | None] = {}
        lacking = []
        for oid in oids:
            row = known.get(oid)
            if oid in self.arrived:
                continue
            if row is None:
                here = self._without_row(oid)
            else:
                place = self._placed(oid, row, packs)
                here = place is not None and self._learn(oid, row.kind, row.size, place)
            if not here:
                lacking.append(oid)
        return lacking

    def _placed(self, oid: bytes, row: rows.ObjectRow, packs: dict[bytes, Placed | None]) -> Placed | None:
        if row.place == rows.LOOSE:
            seen = self._objects.loose.stat(oid)
            return None if seen is None else Placed(seen.st_ino, seen.st_mtime_ns, seen.st_size, row.coding)
        if row.pack not in packs:
            seen = self._objects.packs.stat(row.pack)
            packs[row.pack] = None if seen is None else Placed(seen.st_ino, seen.st_mtime_ns, 0)
        pack = packs[row.pack]
        if pack is None:
            return None
        return Placed(pack.inode, pack.changed, row.stored, row.coding, pack=row.pack, offset=row.offset)

    def _without_row(self, oid: bytes) -> bool:
        """A file that nothing names: of a pull that was interrupted. It is taken if it is whole."""
        seen = self._objects.loose.stat(oid)
        if seen is None:
            return False
        try:
            head = self._objects.loose.check(oid)
        except (ObjectNotFound, CorruptObject, ObjectUnreadable):
            return False
        placed = Placed(seen.st_ino, seen.st_mtime_ns, seen.st_size, head.coding)
        return self._learn(oid, head.kind, head.raw_size, placed)

    def _learn(self, oid: bytes, kind: int, size: int, place: Placed) -> bool:
        if kind != BLOB:
            try:
                self._below[oid] = children(self._objects, kind, oid)
            except (ObjectNotFound, CorruptObject, ObjectUnreadable):
                return False
        if size <= rows.INLINE_BYTES:
            try:
                self.contents[oid] = bytes(self._objects.get(oid, largest=size)[1])
            except (ObjectNotFound, CorruptObject, ObjectUnreadable):
                return False
        self.arrived[oid] = Arrived(kind, size, place)
        return True

    # --- what comes ------------------------------------------------------------------------------------

    def _get(self, oids: Sequence[bytes]) -> None:
        places = self._view.places_of(oids)
        for oid in oids:
            if oid not in places:
                self.faults[oid] = "no segment of the remote says where it is"
        turn = 0
        while chosen := [there[turn] for there in places.values() if turn < len(there)]:
            bad = []
            for got in self._repository.crew.map(self._read, spans(chosen)):
                for item in got:
                    if item.fault:
                        bad.append(item)
                    else:
                        self._take(item)
            self._note(bad)
            turn += 1
            places = {item.place.oid: places[item.place.oid] for item in bad}

    def _note(self, bad: list[_Got]) -> None:
        for item in bad:
            self.faults[item.place.oid] = item.fault
            self._view.note_bad((item.place,), item.fault)

    def _take(self, item: _Got) -> None:
        oid, head = item.place.oid, item.head
        assert head is not None
        self.faults.pop(oid, None)
        self.fetched += 1
        self._below[oid] = item.below
        if item.content is not None:
            self.contents[oid] = item.content
        if item.placed is not None:
            self.arrived[oid] = Arrived(head.kind, head.raw_size, item.placed)
            return
        self._small[oid] = head, item.data
        self._small_bytes += len(item.data)
        if self._small_bytes > TARGET:
            self._write_small()

    def _write_small(self) -> None:
        """Put small objects in place: many in a pack, a few as files of their own, as results made here."""
        small, self._small, self._small_bytes = self._small, {}, 0
        if len(small) >= PACK_LEAST:
            packs = self._objects.packs
            written = packs.write([(oid, data) for oid, (_, data) in small.items()], sync=False)
            for oid, (head, _) in small.items():
                offset, length = written.places[oid]
                place = Placed(
                    written.inode, written.changed, length, head.coding, pack=written.name, offset=offset
                )
                self.arrived[oid] = Arrived(head.kind, head.raw_size, place)
            return
        for oid, (head, data) in small.items():
            place = incoming.put_bytes(self._objects, oid, data, whole=True)
            self.arrived[oid] = Arrived(head.kind, head.raw_size, place)

    def _read(self, span: _Span) -> list[_Got]:
        """Fetch one span, and check what is in it. In a thread of its own."""
        if not span.holder:
            return [self._read_big(span.places[0])]
        name = layout.pack_name(span.holder)
        try:
            data = self._remote.get(name, largest=span.length, offset=span.offset, length=span.length)
        except RemoteFileMissing:
            return [_Got(place, "its pack is not there") for place in span.places]
        view = memoryview(data)
        return [self._check(place, bytes(view[_within(place, span)])) for place in span.places]

    def _check(self, place: ObjectPlace, data: bytes) -> _Got:
        oid = place.oid
        try:
            head, content = incoming.check_bytes(oid, data)
            below = children_of(oid, content) if head.kind != BLOB and content is not None else ()
            if head.raw_size <= PACKED_BYTES:
                copied = bytes(content or b"") if head.raw_size <= rows.INLINE_BYTES else None
                return _Got(place, head=head, below=below, data=data, content=copied)
            placed = incoming.put_bytes(self._objects, oid, data, whole=content is not None)
            if content is None:
                below = children(self._objects, head.kind, oid)
        except CorruptObject as error:
            return _Got(place, error.reason)
        return _Got(place, head=head, below=below, placed=placed)

    def _read_big(self, place: ObjectPlace) -> _Got:
        oid = place.oid
        draft = incoming.draft_path(self._objects.root)
        try:
            self._remote.get_file(layout.big_name(oid), draft, largest=place.length)
            placed = incoming.put_file(self._objects, oid, draft)
            head = self._objects.loose.head(oid)
            below = children(self._objects, head.kind, oid)
        except RemoteFileMissing:
            return _Got(place, "its file is not there")
        except CorruptObject as error:
            return _Got(place, error.reason)
        return _Got(place, head=head, below=below, placed=placed)


def _within(place: ObjectPlace, span: _Span) -> slice:
    start = place.offset - span.offset
    return slice(start, start + place.length)


def spans(places: Iterable[ObjectPlace]) -> Iterator[_Span]:
    """Group places into requests: of each pack those that are near to each other together, and all of it
    where one request for more bytes is cheaper than several for fewer.
    """
    packs: dict[bytes, list[ObjectPlace]] = {}
    for place in places:
        if place.holder:
            packs.setdefault(place.holder, []).append(place)
        else:
            yield _Span(b"", 0, place.length, (place,))
    for holder, wanted in packs.items():
        wanted.sort(key=lambda place: place.offset)
        groups = _near(wanted, GAP)
        cost = sum(_length(group) for group in groups) + len(groups) * REQUEST_BYTES
        whole = _near(wanted, LONGEST_READ)
        if sum(_length(group) for group in whole) + len(whole) * REQUEST_BYTES < cost:
            groups = whole
        for group in groups:
            yield _Span(holder, group[0].offset, _length(group), tuple(group))


def _near(wanted: list[ObjectPlace], gap: int) -> list[list[ObjectPlace]]:
    """Sorted places in groups: no gap is larger, and no group longer than one request may be."""
    groups: list[list[ObjectPlace]] = []
    end = start = 0
    for place in wanted:
        fits = place.offset + place.length - start <= LONGEST_READ
        if groups and place.offset - end <= gap and fits:
            groups[-1].append(place)
            end = max(end, place.offset + place.length)
        else:
            groups.append([place])
            start, end = place.offset, place.offset + place.length
    return groups


def _length(group: list[ObjectPlace]) -> int:
    return max(place.offset + place.length for place in group) - group[0].offset
