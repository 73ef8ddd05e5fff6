"""Push: send what the remote lacks. Objects first, then what was relied on is looked at again, last the
signed segment that makes it all visible (I2).

Nothing is locked and nothing is overwritten: packs are named by their content, segments at random. A push
that is killed leaves packs that nobody names; it remembers them here, and the next push names them instead of
sending them again. A segment becomes visible whole, so others see an entry with all it needs, or not at all.
"""

from __future__ import annotations

from typing import NamedTuple

from scalable_cas import clock
from scalable_cas.errors import CorruptObject, ObjectNotFound, ObjectUnreadable, RemoteError
from scalable_cas.format import record as records
from scalable_cas.format import remote_layout as layout
from scalable_cas.format import segment as segments
from scalable_cas.ops.transfer.committing import commit
from scalable_cas.ops.transfer.compaction import compact_if_many
from scalable_cas.ops.transfer.mending import mend_packs, mend_segments
from scalable_cas.ops.transfer.packing import Packing, Upload
from scalable_cas.ops.transfer.push_plan import Batch, PushPlan, facts
from scalable_cas.ops.transfer.remote_gc import settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scalable_cas.format.segment import ObjectPlace
    from scalable_cas.ops.transfer.repository import Repository

    Progress = Callable[[int, int], None]

#: Records of one segment, in bytes: half of what the format allows.
SEGMENT_BYTES = 64 << 20
#: A view older than this (seconds) is not relied on: a collector waits a day, a person with a bucket in hand
#: does not.
STALE_SECONDS = 300.0
#: After so many seconds a push looks at its own files again, too: a collector may have had time for both of
#: its phases.
LONG_SECONDS = 6 * 3600.0
#: Files that are asked for one by one; of more, the folder is listed.
MOST_ASKED = 48
#: How often a batch is put together anew because something that it relied on was gone.
ATTEMPTS = 3


class Pushed(NamedTuple):
    """What a push did: ``entries`` and ``objects`` that are there now and were not before, ``present``
    entries that were there already, ``bytes`` sent, ``requests`` and ``seconds`` in all; ``withheld`` as in
    the plan; ``broken``: entries (row keys) that could not be sent because an object is missing or damaged
    here.
    """

    entries: int
    objects: int
    present: int
    withheld: int
    broken: tuple[bytes, ...]
    bytes: int
    requests: int
    seconds: float


def push(repository: Repository, plan: PushPlan, progress: Progress | None = None) -> Pushed:
    """Carry out a plan; ``progress(bytes done, of how many)``. What is committed when it ends early stays.

    Raises:
        RemoteError: the remote could not be written; a second push completes it.
        StoreVersionError: the remote uses a feature that writing needs to know.
        StoreReadOnly, StoreBusy: the view cannot be written.
    """
    repository.format.check("write", repository.url)
    mend_segments(repository)
    mended = mend_packs(repository) if plan.damaged else {}
    if mended:  # what was put back in its place need not be sent to another
        plan = plan._replace(batches=tuple(_without(repository, batch) for batch in plan.batches))
    pushing = _Pushing(repository, plan, progress)
    pushing.watch(mended)
    for batch in plan.batches:
        pushing.send(batch)
    pushing.settle()
    if plan.batches:
        compact_if_many(repository)
    return pushing.result()


class _Pushing:
    """One run of `push`."""

    def __init__(self, repository: Repository, plan: PushPlan, progress: Progress | None) -> None:
        self._repository = repository
        self._remote = repository.remote
        self._view = repository.view
        self._store = repository.store
        self._plan = plan
        self._progress = progress
        self._since = clock.monotonic()
        self._refreshed = clock.monotonic() - min(self._view.age(), 1e9)
        self._condemned: dict[bytes, tuple[ObjectPlace, ...]] = {}  # files that a collector may remove yet
        self._done = 0
        self._sent: set[bytes] = set()  # holders that were sent in this run
        self._failed: set[bytes] = set()  # objects that are not to be had here, of earlier batches too
        self._entries = 0
        self._objects = 0
        self._broken = list(plan.broken)

    def result(self) -> Pushed:
        """What was done, in numbers."""
        traffic = self._remote.traffic
        return Pushed(
            entries=self._entries,
            objects=self._objects,
            present=self._plan.present,
            withheld=self._plan.withheld,
            broken=tuple(self._broken),
            bytes=traffic.bytes_sent,
            requests=traffic.requests,
            seconds=clock.monotonic() - self._repository.since,
        )

    def send(self, batch: Batch) -> None:
        """Objects, a last look, the segment."""
        wanted = list(batch.wanted)
        packing = Packing(self._store.objects)
        for _ in range(ATTEMPTS):
            for upload, sent in self._repository.crew.map(self._upload, packing.files(wanted)):
                if not sent:
                    self._failed.add(upload.name)
            self._failed.update(packing.failed)
            gone = self._vanished(batch)
            here = facts(self._store.objects, sorted(gone))
            self._failed.update(oid for oid, found in here.items() if found is None)
            wanted = [found for found in here.values() if found is not None]
            if not wanted:
                break
        else:
            raise RemoteError(self._repository.url, "", "files vanish from it while they are relied on")
        self._commit(batch)

    def _upload(self, upload: Upload) -> tuple[Upload, bool]:
        """Send one file, and remember that at once; False if it is a large object that is damaged here."""
        again = self._view.is_bad_file(upload.name)
        if self._view.is_condemned_file(upload.name):
            self._doubt(upload.name, upload.places)
        if upload.data is not None:
            name, size = layout.pack_name(upload.name), len(upload.data)
            made = self._remote.put(name, upload.data, exclusive=not again)
        else:
            name, size = layout.big_name(upload.name), upload.places[0].length
            try:
                self._store.objects.loose.check(upload.name)
            except (ObjectNotFound, CorruptObject, ObjectUnreadable):
                return upload, False
            made = self._remote.put_file(
                name, self._store.objects.loose.path(upload.name), exclusive=not again
            )
        # one that is there already may have been cut short by whoever sent it
        if not made and self._remote.size(name) != size:
            self._replace(upload, name)
        self._view.note_sent(upload.name, upload.places)
        self._sent.add(upload.name)
        self._done += size
        if self._progress is not None:
            self._progress(self._done, max(self._plan.bytes, self._done))
        return upload, True

    def _replace(self, upload: Upload, name: str) -> None:
        if upload.data is not None:
            self._remote.put(name, upload.data, exclusive=False)
        else:
            self._remote.put_file(name, self._store.objects.loose.path(upload.name), exclusive=False)

    def watch(self, mended: dict[bytes, tuple[ObjectPlace, ...]]) -> None:
        """Packs were put back, of which a collector may have condemned some."""
        for holder, places in mended.items():
            if self._view.is_condemned_file(holder):
                self._doubt(holder, places)

    def _doubt(self, name: bytes, places: tuple[ObjectPlace, ...]) -> None:
        """A collector may yet remove a file. Until `settle` has seen to that the view holds it to be bad, so
        that the next push sends it again where this one ends before.
        """
        self._condemned[name] = places
        self._view.note_bad(places, "a collector may have removed it")

    def settle(self) -> None:
        """See to it that a collector did not remove what was written under names that it had condemned."""
        gone = settle(self._repository, set(self._condemned)) if self._condemned else set()
        for name, places in self._condemned.items():
            if name not in gone:
                self._view.note_good(places)
        if gone:
            mend_packs(self._repository)
        for name in gone:
            place = self._condemned[name][0]
            if not place.holder:
                path = self._store.objects.loose.path(name)
                self._remote.put_file(layout.big_name(name), path, exclusive=False)
                self._view.note_good((place,))

    # --- the last look ---------------------------------------------------------------------------------

    def _vanished(self, batch: Batch) -> set[bytes]:
        """Objects that the segment of a batch will rely on, and that are not there any more: of what an
        interrupted push sent, and of all that others sent where the view is old.
        """
        sent = self._view.sent()
        stale = clock.monotonic() - self._refreshed > STALE_SECONDS
        long = clock.monotonic() - self._since > LONG_SECONDS
        relied: dict[str, list[ObjectPlace]] = {}
        for place in sent.values():
            if (place.holder or place.oid) not in self._sent or long:
                relied.setdefault(_file_of(place), []).append(place)
        if stale:
            names = {oid for entry in batch.entries for oid in entry.closure}
            for there in self._view.places_of(sorted(names - sent.keys())).values():
                relied.setdefault(_file_of(there[0]), []).append(there[0])
        if not relied:
            return set()
        gone = [place for name in self._missing(sorted(relied)) for place in relied[name]]
        self._view.note_bad([place for place in gone if place.oid not in sent], "it is gone")
        self._view.forget_sent([place.holder or place.oid for place in gone if place.oid in sent])
        if stale:
            self._refreshed = clock.monotonic()
        return {place.oid for place in gone}

    def _missing(self, names: Sequence[str]) -> list[str]:
        if len(names) > MOST_ASKED:
            there = {
                file.name for prefix in (layout.PACKS, layout.BIGS) for file in self._remote.list(prefix)
            }
            return [name for name in names if name not in there]
        sizes = self._repository.crew.map(self._remote.size, names)
        return [name for name, size in zip(names, sizes, strict=True) if size is None]

    # --- the segment -----------------------------------------------------------------------------------

    def _commit(self, batch: Batch) -> None:
        """Name what was sent. Keeps I2: an entry that lacks an object is left out."""
        sent = self._view.sent()
        signed: list[bytes] = []
        unsigned: list[bytes] = []  # of strangers
        for entry in batch.entries:
            if not self._failed.isdisjoint(entry.closure):
                self._broken.append(entry.rowkey)
                continue
            record = self._store.index.record_bytes(entry.rowkey)
            if record is None or records.brief(record)[2] != entry.oid:
                continue  # forgotten or computed anew since the plan; the next push sees to it
            record = _anonymous(record) if entry.foreign else record
            (signed if entry.signed else unsigned).append(record)
        places = list(sent.values())
        for part in _parts(signed, places):  # the places come first
            commit(self._repository, *part)
        for part in _parts(unsigned, []):
            commit(self._repository, *part, signed=False)
        self._view.note_good(
            [place for place in places if (place.holder or place.oid) not in self._condemned]
        )
        self._view.forget_sent(sorted({place.holder or place.oid for place in places}))
        self._entries += len(signed) + len(unsigned)
        self._objects += len(places)


def _without(repository: Repository, batch: Batch) -> Batch:
    """A batch without the objects that the remote has by now."""
    there = repository.view.has_all([item.oid for item in batch.wanted])
    return batch._replace(wanted=tuple(item for item in batch.wanted if item.oid not in there))


def _file_of(place: ObjectPlace) -> str:
    return layout.pack_name(place.holder) if place.holder else layout.big_name(place.oid)


def _anonymous(packed: bytes) -> bytes:
    """A record from elsewhere without the name of who signed it there: who signs now answers for it, or
    nobody does.
    """
    record = records.unpack(packed)
    record.origin = ""
    return record.pack()


def _parts(packed: list[bytes], places: list[ObjectPlace]) -> list[tuple[list[bytes], list[ObjectPlace]]]:
    """Records and places in pieces that a segment can hold, the places first: an entry must not be visible
    before all that it needs is.
    """
    parts: list[tuple[list[bytes], list[ObjectPlace]]] = []
    most = segments.MOST_PLACES // 2
    for at in range(0, len(places), most):
        parts.append(([], places[at : at + most]))
    current: list[bytes] = []
    size = 0
    if not parts:
        parts.append(([], []))
    for record in packed:
        if size + len(record) > SEGMENT_BYTES or len(current) >= segments.MOST_RECORDS // 2:
            parts[-1] = (current, parts[-1][1])
            parts.append(([], []))
            current, size = [], 0
        current.append(record)
        size += len(record)
    parts[-1] = (current, parts[-1][1])
    return [part for part in parts if part[0] or part[1]]
