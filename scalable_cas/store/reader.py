"""The read side: from a row of the index to a value. `make_reader` is the hot path; the rest is what it falls
back to. Keeps I5.

What a hit checks, always: the row's tag (a keyed digest over the key, the object's name and the copy of a
small value), or that the row is one whose tag this process has checked (`make_reader` says how it knows); and
for content that is read from files its digest. Small values are decoded from their copy in
the row, so their file is not read; but it is looked at (inode, size, time of change) so that a missing or
altered file is a miss that heals, as for any other object. A look costs a system call, so in a tight loop not
every hit pays for one: a budget of looks is refilled as time passes. The row is checked on every hit, budget
or not.
"""

from __future__ import annotations

import functools
import os
from array import array

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


#: Rows remembered with what follows from them, each as a tuple: a hit whose row is byte for byte one of them
#: is not hashed and not parsed, which saves two microseconds of six. Some 900 bytes each.
KNOWN = 20_000
#: Other rows that were checked in full, as one hit in ten is where marks serve the rest, after which those
#: remembered are given up for newer ones.
PATIENCE = 5 * KNOWN
#: Of further rows that were checked only a mark is kept, a hash of 64 bits at the place that its last bits
#: name: 8 MB, in which of 200,000 rows one in six loses its mark to another. Python's hash is keyed, but
#: PYTHONHASHSEED may fix its key: so what is hashed begins with a salt.
MARKS = 1 << 20


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
    marks, salt, place = array("q"), os.urandom(16), MARKS - 1
    looks, refilled, strangers = LOOKS, perf_counter(), 0

    def examine(rowkey: bytes, row: bytes | None) -> tuple[Any, ...] | None:
        """Check a row that is not known yet. None: it cannot be used; a tuple of one: it takes the general
        way.
        """
        nonlocal strangers
        if row is None or len(row) < fixed:
            return None
        mark = hash(salt + rowkey + row) if marks else 0
        if looks < 2 and mark and marks[mark & place] == mark:  # nobody will look at its file
            created, seconds, code = brief(row)
            return (row, created, seconds, 0, 0, "", row[start:], code, unpack_plain)
        tag, flags, codec, kind, _, length, created, seconds, _, inode, changed, oid, code = parse(row)
        if blake3(rowkey + row[tag_bytes:], key=secret).digest(tag_bytes) != tag:
            return None  # a flipped bit, or another user's row: it will be written anew
        if codec != plain or flags & ~(rows.PACKED | rows.FOREIGN) != rows.HAS_INLINE or kind != VALUE:
            return (created,)
        end = fixed + length
        if len(row) not in (end, end + len(rows.signer_of(row))) or not row.startswith(prefix, fixed):
            return (created,)
        head = row[start:end]
        unpack = unpack_foreign(store, head) if flags & rows.FOREIGN else unpack_plain
        if unpack is None:
            return (created,)
        if flags & rows.PACKED:
            path = pack_path(inode)
            if path is None:  # the pack is gone, or its objects have moved to another
                return (created,)
        else:
            name = oid.hex()
            path = f"{folder}/{name[:2]}/{name[2:]}"
        facts = (row, created, seconds, inode, changed, path, head, code, unpack)
        if len(known) < KNOWN or rowkey in known:
            known[rowkey] = facts
        else:  # a loop over more entries than that would only fill it for the next one to empty
            if not marks:
                marks.frombytes(bytes(8 * MARKS))
            elif len(row) == end and unpack is unpack_plain:
                marks[mark & place] = mark
            strangers += 1
            if strangers > PATIENCE:
                known.clear()
                strangers = 0
        return facts

    def read(rowkey: bytes, counters: Counters, limit: int | None) -> Any:
        nonlocal looks, refilled
        if rowkey in pending:
            return read_pending(store, rowkey, counters, limit)
        enter(None)
        try:
            transaction = begin(database)
            row = transaction.get(rowkey)
            transaction.abort()
        except READ_FAULT:
            row = store.index.ref(rowkey)  # with every remedy: a grown map, stale readers
        finally:
            leave()
        facts = known.get(rowkey)
        if facts is None or facts[0] != row:
            facts = examine(rowkey, row)
            if facts is None or (len(facts) == 1 and limit is not None and clock.now_ns() - facts[0] > limit):
                return MISS
            if len(facts) == 1:
                return read_row(store, rowkey, row, counters)
        _, created, seconds, inode, changed, path, head, code, unpack = facts
        late = limit is not None and clock.now_ns() - created > limit
        if late or (code not in counters.codes and not counters.accepts(store, rowkey, code)):
            return MISS
        looks -= 1
        if looks > 0:
            try:
                seen = stat(path)
            except OSError:
                known.pop(rowkey, None)
                forget_paths()
                return read_row(store, rowkey, row, counters)
            if seen.st_mtime_ns != changed or seen.st_ino != inode:
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
