"""What the segments of a remote need of its files: which files no segment names, and which ones are replaced
because all their objects lie elsewhere too, in a pack that younger segments name (`joining`).

The problem: whoever may write can write a segment that says "all objects lie over there", and a collector
that believed it would remove the only copies for him. So a pack is taken for replaced only if each object in
it has another place that counts: named by a younger segment, in a pack that stands, that no collector has
announced (two collectors might each rely on what the other removes), and that is not known to be bad; and
before the pack goes, each object is read from that place and checked (`proven`).

An enemy could also write a joined file with other segments under the numbers of those that he wants removed.
So every copy of a segment is read, and where two differ, both files count as ones that cannot be read.

All of it is read anew from the segments themselves, not from the local view: a row of the index that was
lost must not cost a pack. Memory: some 250 bytes for each object of the remote.
"""

from __future__ import annotations

from struct import Struct

from blake3 import blake3

from scalable_cas import clock
from scalable_cas.errors import CorruptObject, MalformedObject, RemoteFileMissing, UntrustedEntry
from scalable_cas.format import header
from scalable_cas.format import remote_layout as layout
from scalable_cas.format.segment import LATEST, ObjectPlace
from scalable_cas.ops.transfer.segments import LONGEST_READ, Changed, Listing
from scalable_cas.storage import incoming

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scalable_cas.format.remote_layout import Notice
    from scalable_cas.format.segment import Segment
    from scalable_cas.ops.transfer.repository import Repository

ATTEMPTS = 5
#: Places of one object that are compared; one that has more keeps all files that it is said to be in. Honest
#: ones have ten or so, and an enemy could name a million.
MOST_SPOTS = 64
#: created (ns), number of the file, offset, length
_SPOT = Struct("<QIQQ")


class Copies:
    """The copies of segments that were read. ``odd``: files that have another segment under a number than
    another file has, each with that one's name.
    """

    def __init__(self) -> None:
        self._first: dict[bytes, tuple[str, bytes]] = {}
        self.odd: dict[str, str] = {}

    def add(self, number: bytes, name: str, data: bytes) -> None:
        """A file has these bytes under a number."""
        digest = blake3(data).digest()
        first, before = self._first.setdefault(number, (name, digest))
        if digest != before:
            self.odd[name], self.odd[first] = first, name


class Needs:
    """What was found. ``listing`` of segments, begun when it was ``looked`` (ns); ``there``: the files of
    objects, with their sizes; ``orphans``: those that no segment names; ``replaced``: those that are not
    needed any more, and since when (ns); ``faults``: segments that cannot be read, and if there are any,
    nothing else here counts.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._spots: dict[bytes, bytes] = {}
        self._needed: set[int] = set()  # numbers of the files that some object is only had from
        self._stands: list[int] = []  # by number: how long the file is; -1: it is not there
        self._counts: list[bool] = []  # by number: whether its objects may replace others
        self.listing = Listing()
        self.looked = 0
        self.there: dict[str, int] = {}
        self.orphans: set[str] = set()
        self.replaced: dict[str, int] = {}
        self.faults: list[str] = []

    # --- reading ---------------------------------------------------------------------------------------

    def read(self) -> None:
        """List and read everything.

        Raises:
            RemoteError: the remote could not be read.
        """
        for segment in self._segments():
            self._add(segment)
        # after the notices: what another collector removes now is in one of them, or gone from this listing
        for prefix in (layout.PACKS, layout.BIGS):
            for file in self._repository.remote.list(prefix):
                if (layout.pack_id(file.name) or layout.big_id(file.name)) is not None:
                    self.there[file.name] = file.size
        self._conclude()

    def named_since(self) -> set[str]:
        """The files that segments name which came since the last look.

        Raises:
            RemoteError: the remote could not be read.
        """
        found = {_file_of(place) for segment in self._segments() for place in segment.places}
        self.orphans -= found
        return found

    def _segments(self) -> Iterator[Segment]:
        """List all segments and read those that were not there at the last look. One may come twice."""
        source = self._repository.source()
        known, seen = dict(self.listing.joined), self.listing.live
        for _ in range(ATTEMPTS):
            self.looked, listing = clock.now_ns(), source.listing(known)
            self.faults = sorted(listing.faults)
            copies = Copies()
            try:
                for number, name, data, found in source.fetch(listing.live - seen, every=True):
                    if isinstance(found, (MalformedObject, UntrustedEntry)):
                        self.faults.append(name)
                    else:
                        copies.add(number, name, data)
                        yield found
            except Changed:
                continue
            self.faults += sorted(copies.odd)
            self.listing = listing
            return
        raise source.busy()

    def _add(self, segment: Segment) -> None:
        created = min(segment.created, LATEST)
        for place in segment.places:
            name = _file_of(place)
            number = self._numbers.get(name)
            if number is None:
                number = self._numbers[name] = len(self._names)
                self._names.append(name)
            spot = _SPOT.pack(created, number, place.offset, place.length)
            before = self._spots.get(place.oid, b"")
            if len(before) > MOST_SPOTS * _SPOT.size:
                self._needed.add(number)
            elif spot not in (before[at : at + _SPOT.size] for at in range(0, len(before), _SPOT.size)):
                self._spots[place.oid] = before + spot

    def _conclude(self) -> None:
        announced = {name for notice in self.listing.notices.values() for name in files_of(notice)}
        self._stands = [self.there.get(name, -1) for name in self._names]
        self._counts = [
            size >= 0 and name.startswith(layout.PACKS) and name not in announced
            for name, size in zip(self._names, self._stands, strict=True)
        ]
        needed = self._needed
        since: dict[int, int] = {}
        for oid, packed in self._spots.items():
            if not _SPOT.size < len(packed) <= MOST_SPOTS * _SPOT.size:
                needed.update(spot[1] for spot in _SPOT.iter_unpack(packed))
                continue
            spots = self._sorted(packed)
            home = self._home(oid, spots)
            needed.update(spot[1] for spot in spots[home:])
            for at in range(home):
                if spots[at][1] != spots[home][1]:
                    since[spots[at][1]] = max(since.get(spots[at][1], 0), spots[at + 1][0])
        self.orphans = self.there.keys() - self._numbers.keys()
        self.replaced = {
            self._names[number]: when
            for number, when in since.items()
            if number not in needed
            and self._stands[number] >= 0
            and self._names[number].startswith(layout.PACKS)
        }

    def _sorted(self, packed: bytes) -> list[tuple[int, int, int, int]]:
        """Places, the oldest first; of equally old ones that in the file of the greater name, as where they
        are read (`view_rows.add_place`). Numbers of files are no order: each process gives them anew.
        """
        spots = sorted(_SPOT.iter_unpack(packed), key=lambda spot: (self._names[spot[1]], spot), reverse=True)
        spots.sort(key=lambda spot: spot[0])
        return spots

    def _home(self, oid: bytes, spots: list[tuple[int, int, int, int]]) -> int:
        """Which of an object's places, the oldest first, makes those before it needless: the youngest that
        counts; 0 if none does.
        """
        for at in range(len(spots) - 1, 0, -1):
            _, number, offset, length = spots[at]
            fits = self._counts[number] and offset + length <= self._stands[number] and length <= LONGEST_READ
            if fits and not self._repository.view.is_bad(self._place(oid, spots[at])):
                return at
        return 0

    def _place(self, oid: bytes, spot: tuple[int, int, int, int]) -> ObjectPlace:
        _, number, offset, length = spot
        holder = layout.pack_id(self._names[number]) or b""
        return ObjectPlace(oid, 0, header.RAW, 0, holder, offset, length)

    # --- proving ---------------------------------------------------------------------------------------

    def proven(self, names: set[str]) -> set[str]:
        """Those of some replaced packs whose objects are all whole at the places that replace them. What is
        not is noted as bad.

        Raises:
            RemoteError: the remote could not be read.
        """
        relied: dict[bytes, ObjectPlace] = {}
        older: dict[bytes, list[ObjectPlace]] = {}
        for oid, packed in self._spots.items():
            spots = self._sorted(packed)
            mine = [spot for spot in spots if self._names[spot[1]] in names]
            if mine:
                relied[oid] = self._place(oid, spots[self._home(oid, spots)])
                older[oid] = [self._place(oid, spot) for spot in mine]
        lost: set[str] = set()
        for place, fault in self._check(relied, older):
            if fault:
                self._repository.view.note_bad((place,), fault)
                lost.update(layout.pack_name(item.holder) for item in older[place.oid])
        return names - lost

    def _check(
        self, relied: dict[bytes, ObjectPlace], older: dict[bytes, list[ObjectPlace]]
    ) -> Iterator[tuple[ObjectPlace, str]]:
        for places, pieces in self._repository.crew.map(self._pieces, reads(relied.values())):
            for place, piece in zip(places, pieces, strict=True):
                try:
                    head = incoming.check(place.oid, piece).head
                except CorruptObject as error:
                    yield place, error.reason
                    continue
                # a list of chunks proves nothing but that it is one: another one might name what is nowhere
                same = head.coding != header.CHUNKED or all(
                    item.length == place.length and [piece] == self._pieces([item])[1]
                    for item in older[place.oid]
                )
                yield place, "" if same else "it is another list of chunks"

    def _pieces(self, places: list[ObjectPlace]) -> tuple[list[ObjectPlace], list[bytes]]:
        start = places[0].offset
        length = max(place.offset + place.length for place in places) - start
        name = layout.pack_name(places[0].holder)
        try:
            data = self._repository.remote.get(name, largest=length, offset=start, length=length)
        except RemoteFileMissing:
            data = b""
        return places, [data[place.offset - start : place.offset - start + place.length] for place in places]


def reads(places: Iterable[ObjectPlace]) -> Iterator[list[ObjectPlace]]:
    """Places in groups, each of which is read in one request."""
    group: list[ObjectPlace] = []
    for place in sorted(places, key=lambda place: (place.holder, place.offset)):
        end = place.offset + place.length
        if group and (place.holder != group[0].holder or end - group[0].offset > LONGEST_READ):
            yield group
            group = []
        group.append(place)
    if group:
        yield group


def _file_of(place: ObjectPlace) -> str:
    return layout.pack_name(place.holder) if place.holder else layout.big_name(place.oid)


def files_of(notice: Notice) -> set[str]:
    """The files that a notice speaks of."""
    return {layout.pack_name(name) for name in notice.packs} | {layout.big_name(name) for name in notice.bigs}
