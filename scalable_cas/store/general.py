"""The other ways of a hit and of a result: files and folders that are put back, arrays that are mapped. What
they need is loaded at the first such call.
"""

from __future__ import annotations

from scalable_cas import clock
from scalable_cas.codecs import libraries, outputs
from scalable_cas.codecs.base import decode, encode
from scalable_cas.errors import ScalableCasError
from scalable_cas.format import rows
from scalable_cas.format.kinds import VALUE
from scalable_cas.store.entry import MISS, decode_stored, decode_with, read_row
from scalable_cas.store.terms import OWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.format.record import Record
    from scalable_cas.store.core import StoreCore
    from scalable_cas.store.entry import Decode
    from scalable_cas.store.telemetry import Counters
    from scalable_cas.store.terms import Terms


def read_general(
    store: StoreCore, rowkey: bytes, counters: Counters, limit: int | None, decode: Decode
) -> Any:
    """A look-up for a wrapper whose hits are decoded in a way of their own: ``decode`` gets the store, codec,
    kind and content of the root, and the terms on which it is decoded; it may return MISS.
    """
    if rowkey in store.writer.visible:
        store.flush()
    row = store.index.ref(rowkey)
    if row is None or len(row) < rows.REF_FIXED:
        return MISS
    if rows.ref_tag(rowkey, row[rows.TAG_BYTES :], store.secret) != row[: rows.TAG_BYTES]:
        return MISS  # a flipped bit, or another user's row: it will be written anew
    if limit is not None and clock.now_ns() - rows.REF.unpack_from(row)[6] > limit:
        return MISS
    return read_row(store, rowkey, row, counters, decode)


# --- files and folders -------------------------------------------------------------------------------------


def save_output(
    store: StoreCore, record: Record, codec: str, result: Any, *, many: bool, replace: bool
) -> None:
    """Store what lies at the paths in ``result``; see `store.outputs`."""
    from scalable_cas.store.outputs import save_output as save

    save(store, record, codec, result, many=many, replace=replace)


def decode_output(
    store: StoreCore, codec: str, kind: int, content: Any, terms: Terms, *, check: bool = False
) -> Any:
    """What the function returned, after its files or folders were put back; MISS for any other value, which
    was stored without them.
    """
    if codec not in outputs.NAMES or kind != VALUE:
        return MISS
    from scalable_cas.store.outputs import restore

    return restore(store, codec, content, terms, check=check)


def decode_checked_output(store: StoreCore, codec: str, kind: int, content: Any, terms: Terms) -> Any:
    """The same, but what is there is read also where its stat looks unchanged."""
    return decode_output(store, codec, kind, content, terms, check=True)


# --- memory maps -------------------------------------------------------------------------------------------


def decode_mapped(store: StoreCore, codec: str, kind: int, content: Any, terms: Terms) -> Any:
    """A value whose large buffers are read-only memory maps of the store."""
    if codec in outputs.NAMES or kind != VALUE:
        return decode_stored(store, codec, kind, content, terms)
    from scalable_cas.store.mapping import mapped_buffer

    return decode_with(
        codec,
        kind,
        content,
        lambda refs: [mapped_buffer(store, ref) for ref in refs],
        trusted=terms.trusted,
        writable=False,
    )


def save_mapped(store: StoreCore, record: Record, result: Any, *, replace: bool) -> Any:
    """Store a result so that its large buffers can be mapped, and return it as a hit will: a program that
    writes into an array fails at its first run, not at its second. The result itself if that cannot be had.

    Raises:
        NotStorable: it cannot be stored.
    """
    began = clock.now_ns()
    encoded = encode(result)
    large = store.save(record, encoded, replace=replace, mapped=True)
    if encoded.codec in libraries.CODECS and not encoded.buffers:  # its arrays are small: read-only copies
        return decode(encoded.codec, encoded.head, (), trusted=True, writable=False)
    row = store.index.ref(record.rowkey) if large else None
    if row is None or rows.REF.unpack_from(row)[11] != record.oid:  # nothing to map, or it was not stored
        return result
    from scalable_cas.store.mapping import remember

    try:
        remember(store, large, began)
        head, content = store.objects.get(record.oid, largest=record.size)
        return decode_mapped(store, record.codec, head.kind, content, OWN)
    except ScalableCasError as error:
        store.trouble(error)
        return result
