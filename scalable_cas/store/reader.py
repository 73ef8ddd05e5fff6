"""The read side: from a row of the index to a value. `make_reader` is the hot path; the rest is what it falls
back to. Keeps I5.

What a hit checks, always: the row's tag (a keyed digest over the key, the object's name and the copy of a
small value), or that the row is one whose tag this process has checked, byte for byte, or in the snapshot of
the index that is still the newest (`Seen`); and for content that is read from files its digest. Small values
are decoded from their copy in the row, so their file is not read; but it is looked at (inode, size, time of
change) so that a missing or altered file is a miss that heals, as for any other object. A look costs a system
call, so in a tight loop not every hit pays for one: a budget of looks is refilled as time passes. The index
is asked on every hit, budget or not.
"""

from __future__ import annotations

import functools
import os

from blake3 import blake3

from scalable_cas import clock
from scalable_cas.codecs.plain import decode as decode_plain
from scalable_cas.codecs.plain import unpack as unpack_plain
from scalable_cas.codecs.tags import TAGGED
from scalable_cas.errors import (
    ScalableCasError,
    UntrustedEntry,
)
from scalable_cas.format import rows, value
from scalable_cas.format.kinds import VALUE
from scalable_cas.storage.environment import READ_FAULT
from scalable_cas.store.entry import MISS, read_pending, read_row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from scalable_cas.store.core import StoreCore
    from scalable_cas.store.telemetry import Counters

    Decode = Callable[..., Any]


#: Looks at files that may be made at once, and how many come back per second: a look costs 1.5 to 4 µs, so a
#: loop of nothing but hits spends at most 4 % on them.
LOOKS = 1000
LOOKS_PER_SECOND = 10_000
#: How often at most it is asked whether the index is still there: a system call, and others may exchange it.
ASK_SECONDS = 1.0


#: Rows remembered with what follows from them, each as a tuple: a hit whose row is byte for byte one of them
#: is not hashed and not parsed, which saves two microseconds of six. Some 900 bytes each.
KNOWN = 20_000
#: Other rows that were checked in full, as one hit in ten is where `Seen` serves the rest, after which those
#: remembered are given up for newer ones.
PATIENCE = 5 * KNOWN
#: Bytes of memory for further rows of one snapshot: 200,000 of small results. A row takes `SEEN_ROW` more
#: than its own bytes, for its key and for both in the table (measured with 3.11).
SEEN_BYTES = 64 << 20
SEEN_ROW = 200


class Seen:
    """What was checked in one snapshot of the index, a transaction's number.

    To find a row among 200,000 costs LMDB 1.5 µs, most of it waiting for memory. But what a process has
    checked in a snapshot stays true as long as that is the newest. So a hit asks for the snapshot's number
    first, and for the row only if it does not know it from there. (A mark of 64 bits for each checked row,
    as before, spared the hash of the row but not the search.) A commit, whoever makes it, begins a new one.

    Each knows the number that its rows belong to, and no thread puts rows of one snapshot into that of
    another: a thread that is late writes into one that nobody uses any more.
    """

    __slots__ = ("room", "rows", "snapshot")

    def __init__(self, snapshot: int) -> None:
        self.snapshot = snapshot
        self.rows: dict[bytes, bytes | tuple[Any, ...]] = {}  # row, or what follows from it
        self.room = SEEN_BYTES

    def add(self, rowkey: bytes, facts: tuple[Any, ...], *, remembered: bool) -> None:
        """Note what was checked. ``remembered``: it is kept anyway, and costs a place in the table."""
        if remembered:
            self.rows[rowkey] = facts
        elif self.room > 0 and rowkey not in self.rows:
            self.rows[rowkey] = facts[0]
            self.room -= SEEN_ROW + len(facts[0])


def make_reader(store: StoreCore) -> Callable[[bytes, Counters, int | None], Any]:
    """Return ``read(rowkey, counters, newest_allowed_age) -> value or MISS`` for an open store.

    A closure over locals: attribute look-ups alone would cost a fifth of a hit. ``counters`` gets the hit
    counted; a miss is counted by whoever runs the function. The age limit is in nanoseconds, None for no
    limit.
    """
    environment = store.index.environment
    begin, database = environment.env.begin, environment.db["refs"]
    enter, leave = environment.busy.append, environment.busy.pop
    pending, touched = store.writer.visible, store.notes
    secret, folder = store.secret, store.objects.folder
    pack_path, forget_paths = store.objects.packs.path_of, store.objects.packs.forget_paths
    parse, brief = rows.REF.unpack_from, rows.REF_BRIEF.unpack_from
    fixed, tag_bytes = rows.REF_FIXED, rows.TAG_BYTES
    plain, prefix, start = rows.CODEC_NUMBERS["plain"], value.PLAIN_PREFIX, fixed + len(value.PLAIN_PREFIX)
    stat, perf_counter = os.stat, clock.perf_counter
    known: dict[bytes, tuple[Any, ...]] = {}
    current = Seen(-1)
    looks, refilled, asked, strangers = LOOKS, perf_counter(), perf_counter(), 0

    def examine(rowkey: bytes, row: bytes | None, seen: Seen) -> tuple[Any, ...]:
        """Check a row that is not known yet, and return what follows from it: nothing, if it cannot be used;
        it and its time, if it takes the general way.
        """
        nonlocal strangers
        if row is None or len(row) < fixed:
            return ()
        tag, flags, codec, kind, _, length, created, seconds, _, inode, changed, oid, code = parse(row)
        if blake3(rowkey + row[tag_bytes:], key=secret).digest(tag_bytes) != tag:
            return ()  # a flipped bit, or another user's row: it will be written anew
        if codec != plain or flags & ~(rows.PACKED | rows.FOREIGN) != rows.HAS_INLINE or kind != VALUE:
            return (row, created)
        end = fixed + length
        if len(row) not in (end, end + len(rows.signer_of(row))) or not row.startswith(prefix, fixed):
            return (row, created)
        head = row[start:end]
        unpack = unpack_foreign(store, head) if flags & rows.FOREIGN else unpack_plain
        if unpack is None:
            return (row, created)
        if flags & rows.PACKED:
            path = pack_path(inode)
            if path is None:  # the pack is gone, or its objects have moved to another
                return (row, created)
        else:
            name = oid.hex()
            path = f"{folder}/{name[:2]}/{name[2:]}"
        facts = (row, created, seconds, inode, changed, path, head, code, unpack)
        if len(known) < KNOWN or rowkey in known:
            known[rowkey] = facts
            seen.add(rowkey, facts, remembered=True)
        else:  # a loop over more entries than that would only fill it for the next one to empty
            if len(row) == end and unpack is unpack_plain:
                seen.add(rowkey, facts, remembered=False)
            strangers += 1
            if strangers > PATIENCE:
                for given_up in list(known):  # what follows from them is kept there, too
                    seen.rows.pop(given_up, None)
                known.clear()
                strangers = 0
        return facts

    def learn(rowkey: bytes, checked: Any, row: bytes | None, seen: Seen) -> tuple[Any, ...]:
        """What follows from a row, see `examine`. ``checked``: it, if it was checked in this snapshot."""
        if checked is None:
            facts = known.get(rowkey)
            if facts is None or facts[0] != row:
                return examine(rowkey, row, seen)
            seen.add(rowkey, facts, remembered=True)
            return facts
        if looks > 1:  # its file is looked at: then all is needed
            return examine(rowkey, checked, seen)
        created, seconds, code = brief(checked)
        return (checked, created, seconds, 0, 0, "", checked[start:], code, unpack_plain)

    def has_moved(rowkey: bytes, facts: tuple[Any, ...], seen: Seen) -> bool:
        """Look at the file of a row, and now and then whether the index is still the one that is open."""
        nonlocal asked
        now = perf_counter()
        if now - asked > ASK_SECONDS:
            asked = now
            if not environment.is_current():
                return True
        try:
            found = stat(facts[5])
        except OSError:  # the next hit finds out anew where it would be
            known.pop(rowkey, None)
            seen.rows.pop(rowkey, None)
            forget_paths()
            return True
        return bool(found.st_mtime_ns != facts[4] or found.st_ino != facts[3])

    def read(rowkey: bytes, counters: Counters, limit: int | None) -> Any:
        nonlocal current, looks, refilled
        if rowkey in pending:
            return read_pending(store, rowkey, counters, limit)
        seen, row = current, None
        try:
            enter(None)  # within: Ctrl-C may follow it at once
            transaction = begin(database)
            if (snapshot := transaction.id()) != seen.snapshot:
                seen = current = Seen(snapshot)
            facts = seen.rows.get(rowkey)
            if facts is None:
                row = transaction.get(rowkey)
            transaction.abort()
        except READ_FAULT:
            seen, facts, row = Seen(-1), None, store.index.ref(rowkey)  # a grown map, stale readers
        finally:
            leave()
        if facts.__class__ is not tuple:
            facts = learn(rowkey, facts, row, seen)
            if len(facts) <= 2:
                return read_general(store, rowkey, facts, counters, limit)
        row, created, seconds, _, _, _, head, code, unpack = facts
        late = limit is not None and clock.now_ns() - created > limit
        if late or (code not in counters.codes and not counters.accepts(store, rowkey, code)):
            return MISS
        looks -= 1
        if looks > 0:
            if has_moved(rowkey, facts, seen):
                return read_row(store, rowkey, row, counters)
        else:
            now = perf_counter()
            looks = min(LOOKS, int((now - refilled) * LOOKS_PER_SECOND))
            if looks > 0:
                refilled = now
                if not environment.is_current():
                    return read_row(store, rowkey, row, counters)
        try:
            result = unpack(head)
        except ScalableCasError as error:
            return refused_here(store, rowkey, row, counters, error)
        counters.hits += 1
        counters.saved += seconds
        touched.touched.add(rowkey)
        return result

    return read


def read_general(
    store: StoreCore, rowkey: bytes, facts: tuple[Any, ...], counters: Counters, limit: int | None
) -> Any:
    """A look-up that the hot path cannot serve. ``facts``: of a row that can be used, it and its time."""
    if not facts:
        return MISS
    row, created = facts
    if limit is not None and clock.now_ns() - created > limit:
        return MISS
    return read_row(store, rowkey, row, counters)


def unpack_foreign(store: StoreCore, head: bytes) -> Callable[[bytes], Any] | None:
    """What decodes a small plain value from elsewhere at a hit; None if the general way has to, because the
    store wants a signer who is trusted, or the value does.

    The rules for values of strangers are costly. What they allow depends on the bytes alone where there are
    no tags: such a head passes them once, here, and then the quick unpacker makes the same of it. With tags
    it also depends on which classes are loaded, so those pass them at each hit.
    """
    if store.settings.get("require_signed"):
        return None
    strictly = functools.partial(decode_plain, buffers=(), trusted=False)
    try:
        strictly(head)
        if head[0] == TAGGED:
            return strictly
        unpack_plain(head)  # which may be stricter
    except ScalableCasError:  # the general way says it
        return None
    return unpack_plain


def refused_here(
    store: StoreCore, rowkey: bytes, row: bytes, counters: Counters, error: ScalableCasError
) -> Any:
    """What a hit is whose quick decoding failed: a miss, or for the general way if trust decides."""
    if isinstance(error, UntrustedEntry):
        return read_row(store, rowkey, row, counters)
    store.trouble(error, "; the function runs")
    return MISS
