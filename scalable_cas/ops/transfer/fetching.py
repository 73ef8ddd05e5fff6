"""Fetch objects from a remote with all that they name, each checked before it gets its name (I5, I7).

Which objects an object names is only known when it is here, so they come level by level: roots, what those
name, and so on. On each level what lies near to each other in a pack comes in one request. A copy that is
missing or damaged there is noted, for the next push to send it again, and another one is tried.
"""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple
from zlib import crc32

from scalable_cas.errors import (
    CorruptObject,
    ObjectNotFound,
    ObjectUnreadable,
    RemoteDenied,
    RemoteError,
    RemoteFileMissing,
)
from scalable_cas.format import remote_layout as layout
from scalable_cas.format.header import HEADER_BYTES
from scalable_cas.format.pack import HEAD_BYTES
from scalable_cas.ops.closure import children
from scalable_cas.ops.transfer.packing import TARGET
from scalable_cas.ops.transfer.places import is_crowded, more_places
from scalable_cas.ops.transfer.segments import GAP, LONGEST_READ
from scalable_cas.storage import incoming, memory
from scalable_cas.storage.incoming import Piece, alone
from scalable_cas.store.ingest import Arrivals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from scalable_cas.format.segment import ObjectPlace
    from scalable_cas.ops.transfer.repository import Repository
    from scalable_cas.storage.incoming import Checked

    Below = tuple[tuple[int, bytes], ...]

#: What comes in one piece of so many bytes becomes a pack of its own here, in the thread that fetched it; of
#: less the pieces are put together.
PACK_BYTES = 8 << 20
#: Objects from which on all files of the store's objects are listed, rather than each asked for: 4 µs each.
MANY = 1000
#: What one request costs, in bytes that could have been read meanwhile: 25 to 100 ms at 10 to 40 MB/s.
REQUEST_BYTES = 1 << 20


class _Got(NamedTuple):
    """One object that came: its place, what checking it told, and encoded bytes; None if it is in place
    already, or cannot be used: ``fault`` says why.
    """

    place: ObjectPlace
    fault: str = ""
    found: Checked | None = None
    data: Piece = Piece(memoryview(b""), 0, 0)


class _Span(NamedTuple):
    """One request: a piece of a pack (``holder``), or a big object (empty ``holder``), and the objects wanted
    of it.
    """

    holder: bytes
    offset: int
    length: int
    places: tuple[ObjectPlace, ...]


class Fetcher:
    """Fetches objects for one `ingest`, into its ``arrivals``. ``faults``: why an object could not be had.

    ``ahead``: bytes that are read before each root, where its children mostly lie; what comes so is kept
    until they are asked for. For single entries, where a second request costs more than some kilobytes.
    """

    def __init__(self, repository: Repository, ahead: int = 0) -> None:
        self._repository = repository
        self._remote = repository.remote
        self._objects = repository.store.objects
        self._view = repository.view
        self._keep = ahead > 0
        self._ahead = ahead
        self._kept: list[tuple[_Span, memoryview]] = []
        self._pending: list[tuple[Checked, Piece]] = []
        self._pending_bytes = 0
        self.arrivals = Arrivals(repository.store)
        self._reached: set[bytes] = set()
        self.faults: dict[bytes, str] = {}
        self._counts: list[int] = []  # of objects that came, at a time

    @property
    def fetched(self) -> int:
        """How many objects came."""
        return sum(self._counts)

    def fetch(self, roots: Iterable[bytes]) -> None:
        """Fetch these objects and all that they reach, as far as they are not here.

        Raises:
            RemoteError: the remote could not be read.
            StoreReadOnly: they cannot be written.
        """
        level = list(dict.fromkeys(roots))
        seen = set(level)
        self._reached.update(level)
        while level:
            self._get(self._lacking(level))
            below: dict[bytes, None] = {}
            for oid in level:
                below.update((child, None) for child in self._children(oid) if child not in seen)
            level = list(below)
            seen.update(level)
            self._reached.update(level)

    def reached(self) -> list[bytes]:
        """The names of all objects that were asked for, and of what they name."""
        return sorted(self._reached)

    def blame(self, oid: bytes) -> tuple[bytes, str]:
        """The object, of all that one reaches, that could not be had, and why."""
        stack, seen = [oid], {oid}
        while stack:
            current = stack.pop()
            if current in self.faults:
                return current, self.faults[current]
            below = [child for child in self._children(current) if child not in seen]
            seen.update(below)
            stack.extend(below)
        return oid, "a collector took it while it was pulled"

    def _children(self, oid: bytes) -> tuple[bytes, ...]:
        fact = self.arrivals.fact(oid) if oid not in self.faults else None
        if fact is None:
            return self.arrivals.chunks_of(oid)
        if fact.children is None:
            try:
                fact.children = tuple(child for _, child in children(self._objects, fact.kind, oid))
            except (ObjectNotFound, CorruptObject):  # `ingest` finds the same, and leaves its entries out
                return ()
        return fact.children

    def _lacking(self, oids: Sequence[bytes]) -> list[bytes]:
        """Those of some objects that are not here. One that only the table of a pack knows is fetched again:
        to ask all tables for each would take longer.
        """
        known = self._objects.known(oids)
        packs: dict[bytes, bool] = {}
        loose = self._loose_names(len(oids))
        lacking = []
        for oid in oids:
            row = known.get(oid)
            if row is not None and row.pack:
                if row.pack not in packs:
                    packs[row.pack] = self._objects.packs.stat(row.pack) is not None
                here = packs[row.pack]
            else:
                here = (loose is None or oid in loose) and self._is_loose(oid, by_name=row is not None)
            if not here:
                lacking.append(oid)
        return lacking

    def _loose_names(self, count: int) -> set[bytes] | None:
        """The names of all objects that have a file of their own, if listing them is cheaper than asking for
        ``count`` of them.
        """
        if count < MANY:
            return None
        found = set(islice(self._objects.loose.names(), count))
        return found if len(found) < count else None

    def _is_loose(self, oid: bytes, *, by_name: bool) -> bool:
        """Whether an object has a file of its own. One that no row names may be what a power cut left of a
        pull; so its length is asked too, unless ``by_name``.
        """
        loose = self._objects.loose
        seen = loose.stat(oid)
        if seen is None or by_name:
            return seen is not None
        try:
            return seen.st_size == HEADER_BYTES + loose.head(oid).stored_size
        except (ObjectNotFound, CorruptObject, ObjectUnreadable):
            return False

    # --- what comes ------------------------------------------------------------------------------------

    def _get(self, oids: Sequence[bytes]) -> None:
        places = self._view.places_of(oids)
        for oid in oids:
            if oid not in places:
                self.faults[oid] = "no segment of the remote says where it is"
        self._try(places)
        # an enemy could say of each object that it lies at so many places that the true one is not kept
        crowded = {oid: places[oid] for oid in self.faults.keys() & places.keys() if is_crowded(places[oid])}
        if crowded:
            self._try(more_places(self._repository, crowded))

    def _try(self, places: Mapping[bytes, tuple[ObjectPlace, ...]]) -> None:
        """Fetch objects from the first of their places that has them."""
        turn = 0
        while chosen := [there[turn] for there in places.values() if turn < len(there)]:
            bad = []
            for place in chosen if self.faults else ():
                self.faults.pop(place.oid, None)
            chosen = [place for place in chosen if not self._take_kept(place)]
            try:
                for got in self._repository.crew.map(self._read, map(self._widened, spans(chosen))):
                    bad += [item for item in got if item.fault]
                    self._take([item for item in got if not item.fault])
            finally:
                self._put()
            for item in bad:
                self.faults[item.place.oid] = item.fault
                self._view.note_bad((item.place,), item.fault)
            turn += 1
            places = {item.place.oid: places[item.place.oid] for item in bad}

    def _widened(self, span: _Span) -> _Span:
        """A span with what lies before it; only of the first level."""
        before = min(self._ahead, span.offset - HEAD_BYTES) if span.holder else 0
        self._ahead = 0
        return span._replace(offset=span.offset - before, length=span.length + before)

    def _take_kept(self, place: ObjectPlace) -> bool:
        """Take an object from what was read already; False if it is not in there, or not whole."""
        for span, data in self._kept:
            if place.holder == span.holder and span.offset <= place.offset:
                got = _checked(place, data, span)
                if not got.fault:
                    self._take([got])
                    return True
        return False

    def _take(self, got: list[_Got]) -> None:
        """Take what came of one span."""
        # of a span of which little is wanted the rest must not stay in memory
        sparse = 2 * sum(item.place.length for item in got) < sum(len(item.data.memory) for item in got[:1])
        for item in got:
            if item.found is not None:
                piece = alone(bytes(item.data.data)) if sparse else item.data
                self._pending.append((item.found, piece))
                self._pending_bytes += item.place.length
        self._counts.append(len(got))
        if self._pending_bytes > TARGET:
            self._put()

    def _put(self) -> None:
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        if pending:
            self.arrivals.put_checked(pending, absent=True)

    def _read(self, span: _Span) -> list[_Got]:
        """Fetch and check one span; returns what is not in place yet. In a thread of its own."""
        if not span.holder:
            return [self._read_big(span.places[0])]
        sane = [place for place in span.places if place.length <= LONGEST_READ]
        if len(sane) < len(span.places):  # only an enemy says so: no memory is taken for it
            refused = [place for place in span.places if place.length > LONGEST_READ]
            got = [_Got(place, "it is said to be longer than objects in packs are") for place in refused]
            return got + [item for rest in spans(sane) for item in self._read(rest)]
        room = self._room(span)
        try:
            view = memoryview(b"")
            got = []
            for _ in range(2):  # what was damaged on its way is whole the second time
                try:
                    view = self._receive(span, room)
                except RemoteFileMissing:
                    return [_Got(place, "its pack is not there") for place in span.places]
                got = [_checked(place, view, span) for place in span.places]
                if not any(item.fault for item in got):
                    break
            if room is None:
                if self._keep:
                    self._kept.append((span, view))
                return got
            whole = [(item.found, item.data) for item in got if item.found is not None]
            self.arrivals.put_checked(whole, absent=True)
            # the disk writes, and what is complete is proved, while more is received
            self.arrivals.sync_behind(self._repository.flushing.submit)
            self.arrivals.prove_behind(self._repository.crew.submit)
            self._counts.append(len(whole))
            return [_Got(item.place, item.fault) for item in got if item.fault]
        finally:
            if room is not None:
                self._repository.rooms.append(room)

    def _room(self, span: _Span) -> memoryview | None:
        """Memory for a piece that becomes a pack of its own; None for others, which are kept for a while."""
        if self._keep or not PACK_BYTES <= span.length <= LONGEST_READ:
            return None
        try:
            return self._repository.rooms.pop()
        except IndexError:
            return memory.Writable(LONGEST_READ).view

    def _receive(self, span: _Span, room: memoryview | None) -> memoryview:
        name = layout.pack_name(span.holder)
        if room is None:
            return memoryview(
                self._remote.get(name, largest=span.length, offset=span.offset, length=span.length)
            )
        return room[: self._remote.get_into(name, room[: span.length], offset=span.offset)]

    def _read_big(self, place: ObjectPlace) -> _Got:
        path = self.arrivals.draft()
        try:
            self._remote.get_file(layout.big_name(place.oid), path, largest=place.length)
            self.arrivals.put_file(place.oid, path)
        except RemoteFileMissing:
            return _Got(place, "its file is not there")
        except RemoteDenied:
            raise
        except RemoteError as error:
            if error.retryable:
                raise
            return _Got(place, error.reason)  # it is longer than its object
        except CorruptObject as error:
            return _Got(place, error.reason)
        return _Got(place)


def _checked(place: ObjectPlace, data: memoryview, span: _Span) -> _Got:
    """An object out of what came of a span."""
    start = place.offset - span.offset
    end = start + place.length
    piece = data[start:end]
    try:
        found = incoming.check(place.oid, piece)
        # now that it is in the processor's cache: its pack takes this, and half as long as later
        return _Got(place, "", found, Piece(data, start, end, crc32(piece)))
    except CorruptObject as error:
        return _Got(place, error.reason)


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
