"""From an encoded value to the objects that hold it."""

from __future__ import annotations

from scalable_cas.errors import NotStorable
from scalable_cas.format import value
from scalable_cas.format.kinds import BLOB, VALUE, object_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.codecs.base import Encoded


def as_objects(encoded: Encoded) -> list[tuple[int, bytes, Any]]:
    """The objects of an encoded value, children first: (kind, name, content). Bytes and text are blobs by
    themselves.

    Raises:
        NotStorable: more buffers than the format can hold.
    """
    if encoded.codec in ("bytes", "str"):
        content = encoded.buffers[0]
        return [(BLOB, object_id(BLOB, content), content)]
    if len(encoded.buffers) > value.MOST_BUFFERS:
        raise NotStorable(encoded.codec, f"it has {len(encoded.buffers)} buffers")
    found: list[tuple[int, bytes, Any]] = []
    refs = []
    for buffer in encoded.buffers:
        view = memoryview(buffer).cast("B") if len(buffer) else memoryview(b"")
        oid = object_id(BLOB, view)
        found.append((BLOB, oid, view))
        refs.append(value.BufferRef(BLOB, oid, len(view)))
    content = value.pack(encoded.codec, encoded.head, tuple(refs))
    found.append((VALUE, object_id(VALUE, content), content))
    return found
