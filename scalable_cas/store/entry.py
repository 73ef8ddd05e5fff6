"""From a row of the index to a value, the general way: any codec, content from files or from the writer's
queue, every fault a miss that heals. The quick way of a small value is in `store.reader`. Keeps I5.
"""

from __future__ import annotations

from scalable_cas import clock
from scalable_cas.codecs import base as codecs
from scalable_cas.codecs import outputs
from scalable_cas.errors import (
    CorruptObject,
    MalformedObject,
    ObjectNotFound,
    PathRefused,
    ScalableCasError,
)
from scalable_cas.format import rows, value
from scalable_cas.format.kinds import BLOB, VALUE, object_id
from scalable_cas.storage.parallel import cores
from scalable_cas.store.buffers import buffers_of
from scalable_cas.store.terms import OWN, decode_foreign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from scalable_cas.store.core import StoreCore
    from scalable_cas.store.publishing import Pending
    from scalable_cas.store.telemetry import Counters
    from scalable_cas.store.terms import Terms

    Decode = Callable[..., Any]


class Miss:
    """The type of `MISS`: nothing usable is stored. (None is a value.)"""

    def __repr__(self) -> str:
        return "MISS"

    def __reduce__(self) -> str:
        return "MISS"  # one object per process, also where a wrapper is pickled by value


MISS = Miss()


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
