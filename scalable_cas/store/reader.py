"""The read side: from a row of the index to a value. `make_reader` is the hot path; the rest is what it falls
back to. Keeps I5.

What a hit checks, always: the row's tag (a keyed digest over the key, the object's name and the copy of a
small value), and for content that is read from files its digest. Small values are decoded from their copy in
the row, so their file is not read; but it is looked at (inode, size, time of change) so that a missing or
altered file is a miss that heals, as for any other object. A look costs a system call, so in a tight loop not
every hit pays for one: a budget of looks is refilled as time passes. The tag is checked on every hit, budget
or not.
"""

from __future__ import annotations

import functools
import os

from blake3 import blake3

from scalable_cas import clock
from scalable_cas.codecs import base as codecs
from scalable_cas.codecs import outputs
from scalable_cas.codecs.plain import decode as decode_plain
from scalable_cas.codecs.plain import unpack as unpack_plain
from scalable_cas.codecs.tags import TAGGED
from scalable_cas.errors import (
    CorruptObject,
    MalformedObject,
    ObjectNotFound,
    PathRefused,
    ScalableCasError,
    UntrustedEntry,
)
from scalable_cas.format import rows, value
from scalable_cas.format.kinds import BLOB, VALUE, object_id
from scalable_cas.storage.environment import READ_FAULT
from scalable_cas.storage.parallel import cores
from scalable_cas.store.buffers import buffers_of
from scalable_cas.store.terms import OWN, decode_foreign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from scalable_cas.store.core import StoreCore
    from scalable_cas.store.telemetry import Counters
    from scalable_cas.store.terms import Terms
    from scalable_cas.store.writer import Pending

    Decode = Callable[..., Any]


class Miss:
    """The type of `MISS`: nothing usable is stored. (None is a value.)"""

    def __repr__(self) -> str:
        return "MISS"

    def __reduce__(self) -> str:
        return "MISS"  # one object per process, also where a wrapper is pickled by value


MISS = Miss()

#: Looks at files that may be made at once, and how many come back per second: a look costs 1.5 to 4 µs, so a
#: loop of nothing but hits spends at most 4 % on them.
LOOKS = 1000
LOOKS_PER_SECOND = 10_000


#: Rows remembered as checked: a hit whose row is byte for byte one of them need not be hashed again, which
#: saves a microsecond of five. About 500 bytes each.
KNOWN = 20_000
#: Hits of other rows after which those remembered are given up for newer ones.
PATIENCE = 50 * KNOWN


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
    parse, fixed, tag_bytes = rows.REF.unpack_from, rows.REF_FIXED, rows.TAG_BYTES
    plain, prefix, start = rows.CODEC_NUMBERS["plain"], value.PLAIN_PREFIX, fixed + len(value.PLAIN_PREFIX)
    stat, perf_counter = os.stat, clock.perf_counter
    known: dict[bytes, tuple[Any, ...]] = {}
    looks, refilled, strangers = LOOKS, perf_counter(), 0

    def examine(rowkey: bytes, row: bytes | None) -> tuple[Any, ...] | None:
        """Check a row that is not known yet. None: it cannot be used; a tuple of one: it takes the general
        way.
        """
        nonlocal strangers
        if row is None or len(row) < fixed:
            return None
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


def read_pending(store: StoreCore, rowkey: bytes, counters: Counters, limit: int | None) -> Any:
    """A value that this process stored and that is not in the files yet."""
    if not store.is_alive():
        store.reopen()
        return MISS
    item = store.writer.visible.get(rowkey)
    if item is not None and item.intake is not None:  # files are put back from the store
        store.flush()
        item = None
    if item is None:  # written just now
        return MISS if store.index.ref(rowkey) is None else store.read(rowkey, counters, limit)
    if limit is not None and clock.now_ns() - item.record.created > limit:
        return MISS
    code = rows.code_mark(item.record.code)
    if code not in counters.codes and not counters.accepts(store, rowkey, code):
        return MISS
    result = decode_pending(item)
    _count(store, rowkey, item.record.seconds, counters)
    return result


def decode_pending(item: Pending) -> Any:
    """Decode a result from its encoded form, so that each caller gets an object of its own."""
    root = item.objects[-1]
    contents = {oid: content for _, oid, content, _ in item.objects}
    # Read-only: a buffer may be the memory of an array that the caller of the function has by now.
    return decode_with(
        item.record.codec,
        root[0],
        root[2],
        lambda refs: [memoryview(contents[ref.oid]).toreadonly() for ref in refs],
        trusted=True,
    )


def read_row(
    store: StoreCore, rowkey: bytes, row: bytes, counters: Counters, decode: Decode | None = None
) -> Any:
    """The general case of a hit: any codec, content from files, every fault a miss that heals."""
    fields = rows.REF.unpack_from(row)
    _, flags, codec_number, kind, _, _, _, seconds, _, _, _, _, code = fields
    if not store.is_alive():
        store.reopen()
        return MISS
    if code not in counters.codes and not counters.accepts(store, rowkey, code):
        return MISS
    try:
        codec = _codec_name(store, rowkey, codec_number)
        if codec is None:
            return MISS

        def decoded(terms: Terms) -> Any:
            content = _root_content(store, rowkey, row)
            return (decode or decode_stored)(store, codec, kind, content, terms)

        foreign = flags & rows.FOREIGN
        result = decode_foreign(store, rowkey, row, codec, decoded) if foreign else decoded(OWN)
        if result is MISS:
            return MISS
    except ScalableCasError as error:
        _report(store, row, error)
        return MISS
    _count(store, rowkey, seconds, counters)
    return result


def _report(store: StoreCore, row: bytes, error: ScalableCasError) -> None:
    """Say why an entry cannot be used, and move what is damaged aside.

    A miss is looked up again before its function runs. Then what was moved aside is missing, which is no
    second cause; so damage is told once of each row. A row that was written anew has another tag.
    """
    then = "; the function runs"
    if isinstance(error, (CorruptObject, ObjectNotFound)):
        tag = row[: rows.TAG_BYTES]
        known = tag in store.damaged
        store.damaged.add(tag)
        if isinstance(error, CorruptObject):
            then = "; the function runs and the object is replaced"
            store.discard_damaged(bytes.fromhex(error.oid))
        if known:
            return
    elif isinstance(error, PathRefused):
        then = "; a stored output cannot be put back there, and the function runs"
    store.trouble(error, then)


def decode_stored(store: StoreCore, codec: str, kind: int, content: Any, terms: Terms) -> Any:
    """The value of an entry; files and folders are put back."""
    if codec in outputs.NAMES:
        from scalable_cas.store.general import decode_output  # only then

        return decode_output(store, codec, kind, content, terms)

    def fetch(refs: Sequence[value.BufferRef]) -> list[bytes | memoryview]:
        for ref in refs:
            terms.take(ref.size)
        return buffers_of(store, refs)

    return decode_with(codec, kind, content, fetch, trusted=terms.trusted)


def _count(store: StoreCore, rowkey: bytes, seconds: float, counters: Counters) -> None:
    counters.hits += 1
    counters.saved += seconds
    store.notes.touched.add(rowkey)


def _codec_name(store: StoreCore, rowkey: bytes, number: int) -> str | None:
    for name, known in rows.CODEC_NUMBERS.items():
        if known == number:
            return name
    record = store.index.record(rowkey)
    return record.codec if record is not None else None


def _root_content(store: StoreCore, rowkey: bytes, row: bytes) -> bytes | memoryview:
    """The content of an entry's root object: the copy in the row if its file is as it was, else the file."""
    _, flags, _, kind, _, _, created, seconds, size, inode, changed, oid, code = rows.REF.unpack_from(row)
    packed = bool(flags & rows.PACKED)
    if flags & rows.HAS_INLINE and store.objects.is_as_known(oid, inode, changed, packed=packed):
        inline = rows.inline_of(row)
        if inline is not None and object_id(kind, inline) == oid:
            return inline
    # before it is read: what is changed in between must not pass for what was read
    seen = store.objects.place(oid) if flags & rows.HAS_INLINE else None
    # a large root is a `bytes` or a text by itself, or the head of a value: nobody writes into it
    head, content = store.objects.get(oid, threads=cores(), largest=size, frozen=True)
    if head.kind != kind or head.raw_size != size:
        raise CorruptObject(oid.hex(), "it is of another kind or size than its entry says")
    if seen is not None:
        # The file is whole but is not the one we knew (a restored backup, a copied store): remember it, so
        # that the next hit is quick again.
        codec = next((name for name, known in rows.CODEC_NUMBERS.items() if known == row[rows.CODEC_AT]), "")
        store.notes.rows[rowkey] = (
            row,
            rows.pack_ref(
                rowkey,
                store.secret,
                flags=flags & ~rows.PACKED | (rows.PACKED if seen.pack else 0),
                codec=codec,
                kind=kind,
                created=created,
                seconds=seconds,
                size=size,
                inode=seen.inode,
                changed=seen.changed,
                oid=oid,
                inline=bytes(content),
                code=code,
                signer=rows.signer_of(row),
            ),
        )
    return content


def decode_with(
    codec: str,
    kind: int,
    content: Any,
    fetch: Callable[[Sequence[value.BufferRef]], Sequence[Any]],
    *,
    trusted: bool,
    writable: bool = True,
) -> Any:
    """Decode the content of a root object; ``fetch`` gets the buffers that it names. ``writable``: whether
    arrays over read-only buffers are to be copied.

    Raises:
        MalformedObject, UntrustedEntry, UnknownCodec: as `codecs.decode`, and what ``fetch`` raises.
    """
    if kind == BLOB:
        return codecs.decode(codec, b"", (content,), trusted=trusted)
    if kind != VALUE:
        raise MalformedObject("entry", f"its root is of kind {kind}")
    parsed = value.unpack(content)
    if parsed.codec != codec:
        raise MalformedObject("entry", f"its record says {codec}, its value {parsed.codec}")
    buffers = tuple(fetch(parsed.buffers)) if parsed.buffers else ()
    return codecs.decode(codec, parsed.head, buffers, trusted=trusted, writable=writable)
