"""From an encoded value to the objects that hold it."""

from __future__ import annotations

from scalable_cas.codecs.encoded import OUT_OF_BAND
from scalable_cas.errors import NotStorable
from scalable_cas.format import value
from scalable_cas.format.kinds import BLOB, VALUE, object_id
from scalable_cas.format.shuffle import ITEMS
from scalable_cas.storage.parallel import cores
from scalable_cas.storage.putting import AS_IT_IS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.codecs.base import Encoded
    from scalable_cas.storage.ahead import Ahead

    Object = tuple[int, bytes, Any, int]

#: `memoryview.format` of numbers, without the sign of byte order: what the byte-shuffle may help.
_NUMBERS = frozenset("hHiIlLqQnNefdg")


def one_object(encoded: Encoded) -> Object:
    """The object of an encoded value without buffers, as in `as_objects`."""
    content = value.pack(encoded.codec, encoded.head)
    return VALUE, object_id(VALUE, content), content, 1


def as_objects(encoded: Encoded, ahead: Ahead, *, mapped: bool = False) -> list[Object]:
    """The objects of an encoded value, children first: kind, name, content as bytes, and the size in bytes of
    the numbers that it is made of (1 if it is not), which is what the codec's view of it says. Bytes and text
    are blobs by themselves. ``ahead`` names the buffers. ``mapped``: those that are large enough are to be
    stored as they are.

    Raises:
        NotStorable: more buffers than the format can hold.
    """
    if encoded.codec in ("bytes", "str"):
        content = encoded.buffers[0]
        return [(BLOB, object_id(BLOB, content, cores()), content, 1)]
    if len(encoded.buffers) > value.MOST_BUFFERS:
        raise NotStorable(encoded.codec, f"it has {len(encoded.buffers)} buffers")
    found: list[Object] = []
    refs = []
    for buffer in encoded.buffers:
        numbers = memoryview(buffer)
        view = numbers.cast("B") if numbers.nbytes else memoryview(b"")
        item = AS_IT_IS if mapped and len(view) >= OUT_OF_BAND else item_size(numbers)
        oid = ahead.name(view, item)
        found.append((BLOB, oid, view, item))
        refs.append(value.BufferRef(BLOB, oid, len(view)))
    content = value.pack(encoded.codec, encoded.head, tuple(refs))
    found.append((VALUE, object_id(VALUE, content), content, 1))
    return found


def item_size(view: memoryview) -> int:
    """The size in bytes of the numbers that a buffer holds, if shuffling can help them; else 1. Of complex
    numbers ("Zd"), that of one.
    """
    form = view.format.lstrip("@=<>!")
    numbers = form in _NUMBERS or (form[:1] == "Z" and form[1:] in _NUMBERS)
    return view.itemsize if numbers and view.itemsize in ITEMS else 1
