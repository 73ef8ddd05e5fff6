"""The local copy of what a remote holds: its segments, taken apart into rows of the index.

The problem: to know what is missing one would ask the remote about each object (DVC needs 20 minutes to
learn that nothing is new), or read its whole index each time (restic). What we do: segments never change, so
a refresh lists them, reads those that are new, and adds their rows; what is missing is then a difference of
two local tables. With nothing new it is one request.

The rows are derived and disposable. Where a segment that we know is gone from the remote without being part
of joined segments, somebody removed it (a collector, a person), and everything that we believe of the remote
is thrown away and read anew: a row that says "it is there" about what is not would lose data (I2).
"""

from __future__ import annotations

import threading
from functools import partial
from itertools import chain, islice

from scalable_cas import clock
from scalable_cas.errors import MalformedObject, UntrustedEntry
from scalable_cas.format import remote_layout as layout
from scalable_cas.format import view_rows as rows
from scalable_cas.ops.transfer.learning import BATCH, BATCH_BYTES, Learning, choose_again
from scalable_cas.ops.transfer.segments import Changed, Source
from scalable_cas.store import trust

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from scalable_cas.format.remote_layout import Notice
    from scalable_cas.format.segment import ObjectPlace, Segment
    from scalable_cas.storage.index import Changes
    from scalable_cas.store.core import StoreCore

#: Small packs that are looked at together: 50 ms.
MOST_SMALL_PACKS = 4096
#: How often a listing is made anew because what it named was joined or collected meanwhile.
ATTEMPTS = 5


class View:
    """What the remote ``remote_id`` at ``url`` held at the last refresh, as rows of the index of ``store``.
    ``faults``: file and reason of each segment that could not be used then; ``notices``: what its collectors
    announced then.
    """

    def __init__(self, store: StoreCore, url: str, remote_id: bytes) -> None:
        self._store = store
        self._id = rows.view_id(url, remote_id)
        self.remote_id = remote_id
        self.faults: dict[str, str] = {}
        self.notices: tuple[Notice, ...] = ()
        self._unjoined: int | None = None  # as far as it was counted
        self._bad: set[bytes] = {key[9:] for key, _ in self._scan(rows.BAD)}
        self._condemned: frozenset[bytes] = frozenset()
        self._mutex = threading.Lock()

    # --- asking ----------------------------------------------------------------------------------------

    def key(self, letter: bytes, rest: bytes = b"") -> bytes:
        """The key of a row of this view."""
        return self._id + letter + rest

    def _scan(self, letter: bytes, rest: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        return self._store.index.scan_views(self.key(letter, rest))

    def lookup(self, rowkey: bytes) -> tuple[str, bytes] | None:
        """Who signed the record of an entry (see `format.record.Record.origin`), and its bytes; None if the
        remote does not have it.
        """
        (row,) = self._store.index.view_rows((self.key(rows.RECORD, rowkey),))
        return rows.unpack_record(row) if row else None

    def lookup_all(self, rowkeys: Sequence[bytes]) -> list[tuple[str, bytes] | None]:
        """`lookup` of many."""
        found = self._store.index.view_rows([self.key(rows.RECORD, rowkey) for rowkey in rowkeys])
        return [rows.unpack_record(row) if row else None for row in found]

    def entries(self, fnid: bytes = b"") -> Iterator[tuple[bytes, int, bytes, bool]]:
        """Row key, time of creation and root object of every entry, and whether its signer is trusted, in the
        order of row keys.
        """
        for key, row in self._scan(rows.ENTRY, fnid):
            yield (key[9:], *rows.unpack_entry(row))

    def functions(self) -> dict[bytes, str]:
        """Function id to name, of every function that the remote has entries of."""
        found = self._scan(rows.FUNCTION)
        return {key[9:]: name.decode("utf-8", "surrogatepass") for key, name in found}

    def places(self, oid: bytes) -> tuple[ObjectPlace, ...]:
        """Where an object can be had, the likeliest place first."""
        return self.places_of((oid,)).get(oid, ())

    def places_of(self, oids: Sequence[bytes]) -> dict[bytes, tuple[ObjectPlace, ...]]:
        """The places of many objects; those that have none are left out. Places known to be bad come last: a
        remote may have been mended since.
        """
        found = {}
        keys = [self.key(rows.OBJECT, oid) for oid in oids]
        for oid, row in zip(oids, self._store.index.view_rows(keys), strict=True):
            there = rows.places(oid, row)
            if there:
                bad = self._bad and [place for place in there if self.is_bad(place)]
                found[oid] = (*(p for p in there if p not in bad), *bad) if bad else there
        return found

    def has_all(self, oids: Sequence[bytes]) -> set[bytes]:
        """Those of some objects that the remote has at a place that can be relied on: not known to be bad,
        and not condemned by a collector.
        """
        return {
            oid
            for oid, there in self.places_of(oids).items()
            if any(not self.is_bad(place) and not self.is_condemned(place) for place in there)
        }

    def is_bad(self, place: ObjectPlace) -> bool:
        """Whether an object was found missing or damaged at a place."""
        return place.oid + place.holder in self._bad

    def is_condemned(self, place: ObjectPlace) -> bool:
        """Whether a collector means to remove the file of a place."""
        return bool(self._condemned) and (place.holder or place.oid) in self._condemned

    def damaged(self) -> dict[bytes, set[bytes]]:
        """Objects that were found missing or damaged, and the holders (b"": their own files)."""
        found: dict[bytes, set[bytes]] = {}
        for item in self._bad:
            found.setdefault(item[:32], set()).add(item[32:])
        return found

    def is_bad_file(self, holder: bytes) -> bool:
        """Whether some object in a pack, or a big object, was found missing or damaged."""
        return any(item[32:] == holder or (len(item) == 32 and item == holder) for item in self._bad)

    def is_condemned_file(self, name: bytes) -> bool:
        """Whether a collector means to remove a pack (by its id) or a large object (by its name)."""
        return name in self._condemned

    def age(self) -> float:
        """Seconds since the last refresh by any process; infinite if there was none."""
        (row,) = self._store.index.view_rows((self.key(rows.STATE),))
        if not row:
            return float("inf")
        return abs(clock.now_ns() - int.from_bytes(row[:8], "big")) / 1e9

    def unjoined(self) -> int:
        """How many segments are not joined with others."""
        if self._unjoined is None:
            joined: set[bytes] = set().union(*self.joined().values())
            self._unjoined = sum(1 for key, _ in self._scan(rows.SEGMENT) if key[9:] not in joined)
        return self._unjoined

    def small_packs(self) -> dict[bytes, list[tuple[int, ObjectPlace]]]:
        """Of each small pack the objects that are read from it and are not known to be bad there, in their
        order: each one's place, and when the segment was written that says so (ns).
        """
        found: dict[bytes, list[tuple[int, ObjectPlace]]] = {}
        # an enemy could name half a million; they come in no order, so all have their turn
        for key, row in islice(self._scan(rows.PACK), MOST_SMALL_PACKS):
            holder, oids = key[9:], rows.names(row)
            there = self._store.index.view_rows([self.key(rows.OBJECT, oid) for oid in oids])
            places = [
                (rows.since(item), rows.places(oid, item)[0])
                for oid, item in zip(oids, there, strict=True)
                if item and rows.home(item) == holder
            ]
            good = [item for item in places if not self.is_bad(item[1])]
            found[holder] = sorted(good, key=lambda item: item[1].offset)
        return found

    # --- learning --------------------------------------------------------------------------------------

    def refresh(self, source: Source) -> int:
        """Read what is new, and return the number of new segments.

        Raises:
            RemoteError: the remote could not be read.
            StoreReadOnly, StoreBusy: the index cannot be written.
        """
        for attempt in range(ATTEMPTS):
            listing = source.listing(self.joined())
            known = {key[9:] for key, _ in self._scan(rows.SEGMENT)}
            gone = known - listing.live
            # what was known from a joined file only may have been something else there
            known -= listing.uncovered - self.alone()
            if gone and attempt == 0:
                continue  # a listing of several pages may miss what is joined meanwhile
            if gone:
                self.forget(listing.live)
                known = set()
            try:
                new = self._read(source, listing.live - known)
            except Changed:
                continue
            break
        else:
            raise source.busy()
        self.faults |= listing.faults
        self.notices = tuple(listing.notices.values())
        odd = sum(1 for name in self.faults if layout.segment_number(name) in listing.uncovered)
        self._unjoined = len(listing.uncovered) - odd
        self._condemned = frozenset().union(*(notice.packs | notice.bigs for notice in self.notices))
        joined = {self.key(rows.JOINED, name): b"".join(parts) for name, parts in listing.joined.items()}
        stale = [key for key, _ in self._scan(rows.JOINED) if key not in joined]
        trusted = self._choose_again()
        now = clock.now_ns().to_bytes(8, "big") + trusted

        def change(changes: Changes) -> None:
            changes.drop_view_rows(stale)
            changes.put_sorted("views", {**joined, self.key(rows.STATE): now})

        self._store.index.write(change)
        return new

    def alone(self) -> set[bytes]:
        """The numbers of the segments that were read from, or written to, files of their own."""
        return {key[9:] for key, row in self._scan(rows.SEGMENT) if row == rows.ALONE}

    def _choose_again(self) -> bytes:
        """Where the user trusts others than at the last refresh, choose anew of the records of each key;
        returns what tells whom he trusts.
        """
        digest = trust.trust_list().digest
        (state,) = self._store.index.view_rows((self.key(rows.STATE),))
        if state and state[8:] != digest:
            for number in [key[9:] for key, _ in self._scan(rows.SEGMENT)]:
                choose_again(self._store.index, self.key, self.remote_id, number)
        return digest

    def joined(self) -> dict[bytes, tuple[bytes, ...]]:
        """The joined files that we know, and the numbers of the segments in each."""
        return {
            key[9:]: tuple(row[at : at + 16] for at in range(0, len(row), 16))
            for key, row in self._scan(rows.JOINED)
        }

    def note_joined(self, name: bytes, numbers: Iterable[bytes]) -> None:
        """Remember a joined file that was written, and the segments in it."""
        row = {self.key(rows.JOINED, name): b"".join(sorted(numbers))}
        self._unjoined = None
        self._store.index.write(lambda changes: changes.put_sorted("views", row))

    def _read(self, source: Source, wanted: set[bytes]) -> int:
        new = 0
        self.faults = {}
        waiting: list[Learning] = []
        total = size = 0
        for _, name, data, found in source.fetch(wanted):
            if isinstance(found, (MalformedObject, UntrustedEntry)):
                self.faults[name] = found.reason
                continue
            new += 1
            item = Learning(self.key, found, data, alone=layout.segment_number(name) is not None)
            if item.total > BATCH:  # by itself, in several transactions
                self._learn([item])
                continue
            waiting.append(item)
            total, size = total + waiting[-1].total, size + len(data)
            if total > BATCH or size > BATCH_BYTES:
                self._learn(waiting)
                waiting, total, size = [], 0, 0
        self._learn(waiting)
        return new

    def ingest(self, segment: Segment, data: bytes) -> None:
        """Add the rows of a segment, and its bytes, from which it can be put back if it is damaged there. Of
        several entries of one key the youngest counts of those whose signers are trusted, else the youngest,
        and of equally old ones that with the greater name; in whatever order they are read.
        """
        self._learn([Learning(self.key, segment, data, alone=True)])
        self._unjoined = None if self._unjoined is None else self._unjoined + 1

    def _learn(self, found: Sequence[Learning]) -> None:
        """Small ones in one transaction, because each takes a flush; a large one in several."""
        if len(found) == 1:
            for at in range(0, max(found[0].total, 1), BATCH):
                self._store.index.write(partial(found[0].write, first=at))
            return

        def change(changes: Changes) -> None:
            for item in found:
                for at in range(0, max(item.total, 1), BATCH):
                    item.write(changes, at)

        if found:
            self._store.index.write(change)

    def forget(self, live: set[bytes]) -> None:
        """Throw away what is known of the remote, but for what is known to be wrong with it, uploads, and the
        copies of the segments that are ``live``: one of these may be damaged there, and only a copy mends it.
        The segments last: if this is cut short, the next refresh finds that they are gone, and begins again.
        """
        letters = (
            *(rows.OBJECT, rows.PACK, rows.ENTRY, rows.RECORD, rows.FUNCTION),
            *(rows.JOINED, rows.COPY, rows.SEGMENT),
        )
        for letter in letters:
            keys: list[bytes] = []
            for key, _ in self._scan(letter):
                if letter == rows.COPY and key[9:] in live:
                    continue
                keys.append(key)
                if len(keys) == BATCH:
                    self._drop(keys)
                    keys = []
            self._drop(keys)

    def _drop(self, keys: list[bytes]) -> None:
        if keys:
            self._store.index.write(lambda changes: changes.drop_view_rows(keys))

    # --- what is wrong there, and what is on its way ---------------------------------------------------

    def note_bad(self, places: Sequence[ObjectPlace], reason: str) -> None:
        """Remember that objects are missing or damaged at these places: the next push sends them again."""
        new = {self.key(rows.BAD, place.oid + place.holder): reason.encode() for place in places}
        if new:
            self._store.index.write(lambda changes: changes.put_sorted("views", new))
        with self._mutex:
            self._bad |= {key[9:] for key in new}

    def note_good(self, places: Sequence[ObjectPlace]) -> None:
        """Forget that these places were bad."""
        mended = {place.oid + place.holder for place in places} & self._bad
        self._drop([self.key(rows.BAD, item) for item in mended])
        with self._mutex:
            self._bad -= mended

    def note_files(self, faults: dict[str, str]) -> None:
        """Remember which files of segments are missing or damaged, and only those: the next push puts back
        what it has a copy of.
        """
        new = {self.key(rows.BAD_FILE, name.encode()): reason.encode() for name, reason in faults.items()}
        stale = [key for key, _ in self._scan(rows.BAD_FILE) if key not in new]

        def change(changes: Changes) -> None:
            changes.drop_view_rows(stale)
            changes.put_sorted("views", new)

        if new or stale:
            self._store.index.write(change)

    def bad_files(self) -> list[str]:
        """The files of segments that were found damaged."""
        return [key[9:].decode() for key, _ in self._scan(rows.BAD_FILE)]

    def copies(self, number: bytes) -> Iterator[bytes]:
        """The bytes of a segment that was read or written: of this view, then of the others of this store. A
        remote may have another address by now than when its author wrote to it: moved, copied, or reached in
        another way.
        """
        for view in chain((self._id,), self._views()):
            (data,) = self._store.index.view_rows((view + rows.COPY + number,))
            if data is not None:
                yield data

    def all_copies(self) -> Iterator[bytes]:
        """The bytes of every segment that was read or written."""
        for number in [key[9:] for key, _ in self._scan(rows.COPY)]:
            (data,) = self._store.index.view_rows((self.key(rows.COPY, number),))
            yield data or b""

    def _views(self) -> Iterator[bytes]:
        least = bytes(rows.VIEW_BYTES)
        while found := self._store.index.view_key(least)[: rows.VIEW_BYTES]:
            yield found
            least = found + b"\xff"  # behind all its rows: no letter is as great

    def in_pack(self, holders: set[bytes]) -> dict[bytes, list[ObjectPlace]]:
        """The objects in some packs, in their order. Looks at every object that the remote has."""
        found: dict[bytes, list[ObjectPlace]] = {}
        for key, row in self._scan(rows.OBJECT) if holders else ():
            for place in rows.places(key[9:], row):
                if place.holder in holders:
                    found.setdefault(place.holder, []).append(place)
        for there in found.values():
            there.sort(key=lambda place: place.offset)
        return found

    def note_sent(self, holder: bytes, places: Sequence[ObjectPlace]) -> None:
        """Remember an upload that no segment names yet. A big object's holder is its name."""
        row = {self.key(rows.SENT, holder): rows.pack_places(places)}
        self._store.index.write(lambda changes: changes.put_sorted("views", row))

    def sent(self) -> dict[bytes, ObjectPlace]:
        """Objects that were uploaded and that no segment names yet, with their places."""
        found = {}
        for key, row in self._scan(rows.SENT):
            holder = key[9:]
            for place in rows.unpack_places(row, holder):
                found[place.oid] = place._replace(holder=b"") if place.oid == holder else place
        return found

    def forget_sent(self, holders: Sequence[bytes]) -> None:
        """A segment names them now, or they are not there after all."""
        self._drop([self.key(rows.SENT, holder) for holder in holders])
