"""The rows that a segment adds to the local view of a remote, some thousand in one transaction.

Of several records of one key one is kept: of a signer who is trusted before any other's, else whoever writes
the youngest keeps everybody from what those whom they trust have sent. Whom the user trusts changes; then the
segments are gone through again (`View.refresh`), from the copies that are here.

Of small packs it is kept which objects are read from them (the place of the youngest segment that names an
object), because these packs are joined by and by (`joining`), and to look through all objects for them would
take seconds where there are millions.
"""

from __future__ import annotations

from functools import partial

from scalable_cas.errors import MalformedObject, UntrustedEntry
from scalable_cas.format import record as records
from scalable_cas.format import segment as segments
from scalable_cas.format import view_rows as rows
from scalable_cas.storage import signing
from scalable_cas.store import trust

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scalable_cas.format.segment import ObjectPlace, Segment
    from scalable_cas.storage.index import Changes, Index

#: Rows written in one transaction: some ms, which is how long a neighbour may have to wait.
BATCH = 5000
#: Bytes of small segments that are added together.
BATCH_BYTES = 4 << 20
#: Bytes of objects from which on a pack is not small: a reader's request for it costs as much as 1 MiB does
#: (`fetching`), so joining such packs would save a third at best.
SMALL_PACK = 2 << 20


class Learning:
    """A segment that is being added to a view. ``key`` makes the keys of its rows; ``data``: the segment's
    bytes; ``alone``: they are those of the file of its own, and not what somebody joined with others.
    ``total``: how many places or records it has.
    """

    def __init__(
        self, key: Callable[..., bytes], segment: Segment, data: bytes, *, alone: bool = False
    ) -> None:
        self._key = key
        self._row = rows.ALONE if alone else b""
        self._origin = records.origin_of(segment.signer)
        self._trusted = trust.is_trusted(self._origin)
        self._created = rows.sane_time(segment.created)
        self._segment = segment
        self._data = data
        self.total = max(len(segment.records), len(segment.places))
        sizes: dict[bytes, int] = {}
        for place in segment.places:
            sizes[place.holder] = sizes.get(place.holder, 0) + place.length
        self._small = {holder for holder, size in sizes.items() if holder and size < SMALL_PACK}

    def write(self, changes: Changes, first: int) -> None:
        """Add the rows of `BATCH` places and records from number ``first`` on, in one transaction."""
        end = first + BATCH
        new = self._places(changes, self._segment.places[first:end])
        new |= self._entries(changes, self._segment.records[first:end])
        if end >= self.total:  # only now: a segment of which half is there is not known
            new[self._key(rows.COPY, self._segment.nonce)] = self._data
            new[self._key(rows.SEGMENT, self._segment.nonce)] = self._row
        changes.put_sorted("views", new)

    def _places(self, changes: Changes, found: Sequence[ObjectPlace]) -> dict[bytes, bytes]:
        new: dict[bytes, bytes] = {}
        gone: dict[bytes, set[bytes]] = {}
        came: dict[bytes, dict[bytes, None]] = {}
        for place in found:
            key = self._key(rows.OBJECT, place.oid)
            before = new.get(key) or changes.view_row(key)
            new[key] = rows.add_place(before, place, self._created)
            old, home = rows.home(before), rows.home(new[key])
            if home == old:
                continue
            if old:
                gone.setdefault(old, set()).add(place.oid)
                came.get(old, {}).pop(place.oid, None)
            if home in self._small:
                came.setdefault(home, {})[place.oid] = None
        for holder in gone.keys() | came.keys():
            self._move(changes, holder, gone.get(holder, set()), came.get(holder, {}), new)
        return new

    def _move(
        self,
        changes: Changes,
        holder: bytes,
        gone: set[bytes],
        came: dict[bytes, None],
        new: dict[bytes, bytes],
    ) -> None:
        """Write which objects are read from a small pack by now."""
        key = self._key(rows.PACK, holder)
        before = changes.view_row(key)
        names = dict.fromkeys(name for name in rows.names(before) if name not in gone) | came
        if names:
            new[key] = b"".join(names)
        elif before:
            changes.drop_view_rows((key,))

    def choose_again(self, changes: Changes, first: int) -> None:
        """Give the records from number ``first`` on their places anew, because others are trusted by now."""
        changes.put_sorted("views", self._entries(changes, self._segment.records[first : first + BATCH]))

    def _entries(self, changes: Changes, found: Sequence[bytes]) -> dict[bytes, bytes]:
        new: dict[bytes, bytes] = {}
        for packed in found:
            try:
                type_, rowkey, oid, created, function = records.brief(packed)
            except MalformedObject:  # signed nonsense is skipped; what is not here is computed
                continue
            if type_ != records.REF:
                continue
            key, record = self._key(rows.ENTRY, rowkey), self._key(rows.RECORD, rowkey)
            before = new.get(key) or changes.view_row(key)
            mine = rows.sane_time(created), oid
            if before is not None:
                there = new.get(record) or changes.view_row(record)
                preferred = there is not None and trust.is_trusted(rows.unpack_record(there)[0])
                if (preferred, *rows.unpack_entry(before)[:2]) > (self._trusted, *mine):
                    continue
            new[key] = rows.pack_entry(*mine, trusted=self._trusted)
            new[record] = rows.pack_record(self._origin, packed)
            new[self._key(rows.FUNCTION, rowkey[:8])] = function.encode("utf-8", "surrogatepass")
        return new


def choose_again(index: Index, key: Callable[..., bytes], remote_id: bytes, number: bytes) -> None:
    """Go through the records of a segment again, from its copy in the view."""
    (data,) = index.view_rows((key(rows.COPY, number),))
    try:
        segment = segments.unpack(data or b"", remote_id=remote_id, verify=signing.verify)
    except (MalformedObject, UntrustedEntry):  # a row of the index has no checksum of its own
        return
    item = Learning(key, segment, b"")
    for at in range(0, len(segment.records), BATCH):
        index.write(partial(item.choose_again, first=at))
