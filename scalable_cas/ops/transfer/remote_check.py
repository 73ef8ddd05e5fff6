"""Verify a remote: read every object that its segments name, and say what is wrong and what that affects.
Changes nothing there; what is wrong is remembered here, so that the next push sends it again.

A damaged copy of an object that has another one that is whole is no fault: readers take that. So is no file
that no segment names: a push may be under way, and a collector removes what an interrupted one left.
"""

from __future__ import annotations

from blake3 import blake3

from scalable_cas import clock
from scalable_cas.errors import CorruptObject, MalformedObject, RemoteFileMissing, UntrustedEntry
from scalable_cas.format import record as records
from scalable_cas.format import remote_layout as layout
from scalable_cas.ops.transfer.remote_needs import Copies, reads
from scalable_cas.ops.transfer.segments import LONGEST_READ, Changed
from scalable_cas.ops.verify import NAMED, Finding
from scalable_cas.storage import fs, incoming

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scalable_cas.format.segment import ObjectPlace, Segment
    from scalable_cas.ops.transfer.repository import Repository

    Progress = Callable[[int, int], None]

#: How often a listing is made anew because what it named was joined meanwhile.
ATTEMPTS = 5
#: A pack that is said to be no longer (bytes) is read in one piece: eight times what our own have.
WHOLE = 256 << 20
ODD = "its bytes have another digest than its name says"


class RemoteVerification:
    """The outcome: ``findings`` (kinds "segment", "missing", "corrupt", "pack"), and what was read:
    ``objects``, encoded ``bytes``, ``entries``, ``requests``, ``seconds``.
    """

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.objects = 0
        self.bytes = 0
        self.entries = 0
        self.requests = 0
        self.seconds = 0.0


class _Seen:
    """One place that was looked at: why it cannot be used ("" if it can), whether its file is gone, and what
    its object names.
    """

    __slots__ = ("children", "fault", "gone", "place")

    def __init__(
        self, place: ObjectPlace, fault: str = "", *, gone: bool = False, children: tuple[bytes, ...] = ()
    ) -> None:
        self.place = place
        self.fault = fault
        self.gone = gone
        self.children = children


def verify_remote(repository: Repository, progress: Progress | None = None) -> RemoteVerification:
    """Check a remote; ``progress(files done, of how many)``.

    Raises:
        RemoteError: it could not be read; nothing is concluded from that.
    """
    since = clock.monotonic()
    repository.refresh()  # what is to be sent again must be known to the view
    checking = _Checking(repository)
    checking.read_segments()
    checking.read_objects(progress)
    checking.conclude()
    result = checking.result
    result.requests = repository.remote.traffic.requests
    result.seconds = clock.monotonic() - since
    return result


class _Checking:
    """One run of `verify_remote`."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._remote = repository.remote
        self._places: dict[bytes, list[tuple[int, ObjectPlace]]] = {}  # by object, with the segment's time
        self._files: dict[bytes, list[ObjectPlace]] = {}  # holder or own name -> places to look at
        self._ends: dict[bytes, int] = {}  # where the last object of a pack ends
        self._users: dict[bytes, list[str]] = {}
        self._parents: dict[bytes, list[bytes]] = {}
        self._seen: dict[bytes, list[_Seen]] = {}
        self._odd: dict[bytes, str] = {}  # packs whose objects are whole but whose digest is another
        self.result = RemoteVerification()

    def read_segments(self) -> None:
        """Read every segment anew, whatever the view knows."""
        faults: dict[str, str] = {}
        latest: dict[bytes, tuple[int, bytes, str]] = {}
        source = self._repository.source()
        for _ in range(ATTEMPTS):
            listing = source.listing({})
            faults.update(listing.faults)
            copies = Copies()
            try:
                for number, name, data, found in source.fetch(listing.live, every=True):
                    if isinstance(found, (MalformedObject, UntrustedEntry)):
                        faults[name] = found.reason
                    else:
                        copies.add(number, name, data)
                        self._add(found, latest)
            except Changed:
                continue
            break
        else:
            raise source.busy()
        for rowkey, (_, oid, function) in latest.items():
            self._users.setdefault(oid, []).append(f"{function} {rowkey[8:].hex()}")
        self.result.entries = len(latest)
        self.result.findings += [Finding("segment", name, text) for name, text in sorted(faults.items())]
        self._repository.view.note_files(faults)  # but not what follows, of which nobody knows what is right
        self.result.findings += [
            Finding(
                "segment",
                name,
                f"it differs from {other} in a segment of one number; remove the wrong one",
            )
            for name, other in sorted(copies.odd.items())
        ]

    def _add(self, segment: Segment, latest: dict[bytes, tuple[int, bytes, str]]) -> None:
        for place in segment.places:
            self._places.setdefault(place.oid, []).append((segment.created, place))
            end = place.offset + place.length
            self._ends[place.holder] = max(end, self._ends.get(place.holder, 0))
        for packed in segment.records:
            try:
                type_, rowkey, oid, created, function = records.brief(packed)
            except MalformedObject:
                continue
            if type_ == records.REF and (created, oid) > latest.get(rowkey, (-1, b"", ""))[:2]:
                latest[rowkey] = created, oid, function

    def read_objects(self, progress: Progress | None) -> None:
        """Read every object where readers do, at the place that the youngest segment names, and of those that
        are not whole there the others: what joined packs have replaced need not be whole, nor be there.
        """
        waiting = {oid: _youngest_first(there) for oid, there in self._places.items()}
        done = total = 0
        while waiting:
            self._files = {}
            for there in waiting.values():
                place = there.pop(0)
                self._files.setdefault(place.holder or place.oid, []).append(place)
            total += len(self._files)
            for found in self._repository.crew.map(self._check, sorted(self._files)):
                self._note(found)
                done += 1
                if progress is not None:
                    progress(done, total)
            whole = {
                oid
                for oid in waiting
                if any(not item.fault and item.place.holder not in self._odd for item in self._seen[oid])
            }
            waiting = {oid: there for oid, there in waiting.items() if there and oid not in whole}

    def _note(self, found: list[_Seen]) -> None:
        for item in found:
            self._seen.setdefault(item.place.oid, []).append(item)
            for child in item.children:
                self._parents.setdefault(child, []).append(item.place.oid)
            self.result.bytes += item.place.length

    def _check(self, holder: bytes) -> list[_Seen]:
        places = self._files[holder]
        if not places[0].holder:
            return [self._check_big(places[0])]
        # of all of them, not only of those that are wanted from here; the table takes less than the objects
        most = 2 * self._ends[holder] + (1 << 20)
        name = layout.pack_name(holder)
        try:
            if most > WHOLE:
                return self._check_huge(holder, name, places, most)
            data = self._remote.get(name, largest=most)
        except RemoteFileMissing:
            return [_Seen(place, "its pack is not there", gone=True) for place in places]
        view = memoryview(data)
        found = [_look(place, view[place.offset : place.offset + place.length]) for place in places]
        if blake3(data).digest() != holder and not any(item.fault for item in found):
            self._odd[holder] = ODD
        return found

    def _check_huge(self, holder: bytes, name: str, places: list[ObjectPlace], most: int) -> list[_Seen]:
        """The same of a pack that is said to be longer than any that we write: in pieces, so that no memory
        is taken because somebody says so.
        """
        found = []
        for place in places:
            if place.length > LONGEST_READ:
                found.append(_Seen(place, "it is said to be longer than objects in packs are"))
        for group in reads(place for place in places if place.length <= LONGEST_READ):
            start = group[0].offset
            length = max(place.offset + place.length for place in group) - start
            view = memoryview(self._remote.get(name, largest=length, offset=start, length=length))
            for place in group:
                at = place.offset - start
                found.append(_look(place, view[at : at + place.length]))
        digest, at = blake3(), 0
        while at <= most:
            piece = self._remote.get(name, largest=LONGEST_READ, offset=at, length=LONGEST_READ)
            if not piece:
                break
            digest.update(piece)
            at += len(piece)
        if digest.digest() != holder and not any(item.fault for item in found):
            self._odd[holder] = ODD
        return found

    def _check_big(self, place: ObjectPlace) -> _Seen:
        path = incoming.draft(self._repository.store.objects)
        try:
            self._remote.get_file(layout.big_name(place.oid), path, largest=2 * place.length)
            found = incoming.check_file(place.oid, path)
        except RemoteFileMissing:
            return _Seen(place, "its file is not there", gone=True)
        except CorruptObject as error:
            return _Seen(place, error.reason)
        finally:
            fs.remove(path)
        return _Seen(place, children=found.children or ())

    def conclude(self) -> None:
        """What is wrong, and what that affects."""
        whole = {oid for oid, there in self._seen.items() if any(not item.fault for item in there)}
        self.result.objects = len(whole)
        needed = self._seen.keys() | self._users.keys() | self._parents.keys()
        for oid in sorted(needed - whole):
            there = self._seen.get(oid, [])
            damaged = [item.fault for item in there if not item.gone]
            reason = damaged[0] if damaged else there[0].fault if there else "no segment says where it is"
            kind = "corrupt" if damaged else "missing"
            self.result.findings.append(Finding(kind, oid.hex(), reason, self._affected(oid)))
        view = self._repository.view
        looked = [item for there in self._seen.values() for item in there]
        view.note_bad([item.place for item in looked if item.fault], "missing or damaged")
        view.note_good([i.place for i in looked if not i.fault and i.place.holder not in self._odd])
        for holder, reason in sorted(self._odd.items()):
            only = [
                item.place
                for item in looked
                if item.place.holder == holder and not _elsewhere(self._seen[item.place.oid], holder)
            ]
            if only:  # else the pack is not needed any more
                self.result.findings.append(Finding("pack", holder.hex(), reason))
                view.note_bad(only, reason)

    def _affected(self, oid: bytes) -> tuple[str, ...]:
        found: list[str] = []
        queue, seen = [oid], {oid}
        while queue:
            current = queue.pop()
            found.extend(self._users.get(current, ()))
            fresh = [parent for parent in self._parents.get(current, ()) if parent not in seen]
            seen.update(fresh)
            queue.extend(fresh)
        more = (f"and {len(found) - NAMED} more",) if len(found) > NAMED else ()
        return tuple(sorted(found)[:NAMED]) + more


def _youngest_first(there: list[tuple[int, ObjectPlace]]) -> list[ObjectPlace]:
    """Places as readers try them, each file once."""
    found: dict[bytes, ObjectPlace] = {}
    for _, place in sorted(there, key=lambda item: (-item[0], item[1].holder)):
        found.setdefault(place.holder, place)
    return list(found.values())


def _elsewhere(there: list[_Seen], holder: bytes) -> bool:
    return any(not item.fault and item.place.holder != holder for item in there)


def _look(place: ObjectPlace, data: memoryview) -> _Seen:
    try:
        found = incoming.check(place.oid, data)
    except CorruptObject as error:
        return _Seen(place, error.reason)
    return _Seen(place, children=found.children or ())
