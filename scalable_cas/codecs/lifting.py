"""The way up: what msgpack reads, to the values that were stored.

A tagged value is an array whose first item is a mark. The obvious form, an ext whose payload is again
msgpack, would call the unpacker from inside itself once per level, at 20 to 40 KB of C stack each: a few
hundred tuples in one another would end the interpreter, a dozen in a small thread. With marks there is one
unpacker with one bounded stack; it calls `Reader.array` for each finished array, innermost first, which
replaces a marked one by its value.
"""

from __future__ import annotations

from struct import Struct

from msgpack import Timestamp, unpackb

from scalable_cas.codecs import classes, libraries, stdlib, tags
from scalable_cas.codecs.lowering import KEYS
from scalable_cas.errors import UntrustedEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from scalable_cas.codecs.classes import KnownClass
    from scalable_cas.codecs.tags import RaiseLeaf, RaiseNode

_DOUBLES = Struct(">dd")
_INDEX = Struct(">I")


class Mark:
    """What stands first in a marked array until the array is finished."""

    __slots__ = ("make",)

    def __init__(self, make: RaiseNode) -> None:
        self.make = make


class Memory:
    """A buffer that a value of a library is to own, until that value is made."""

    __slots__ = ("buffer",)

    def __init__(self, buffer: Any) -> None:
        self.buffer = buffer


class Reader:
    """The state of reading one head.

    `unused` counts marks and class descriptions that stand where none may stand: each is counted when it is
    read and taken off when the array that it starts is finished. At the end it is zero, or one of them is in
    the value. Memory counts as they do until a value of a library takes it.

    `libraries` lets such values be read, `found` says that one was, and `writable` that their memory is to be
    writable.
    """

    __slots__ = (
        "buffers",
        "classes",
        "found",
        "libraries",
        "own_hash",
        "shared",
        "taken",
        "trusted",
        "unused",
        "writable",
    )

    def __init__(
        self, buffers: Sequence[Any], *, trusted: bool, libraries: bool = False, writable: bool = True
    ) -> None:
        self.buffers = buffers
        self.trusted = trusted
        self.libraries = libraries
        self.found = False
        self.writable = writable
        self.taken: dict[int, bytes | None] = {}  # buffers that are bytes objects by now, or memory: None
        self.classes: list[KnownClass] = []
        self.shared: dict[int, Any] = {}  # objects that occur again, by their numbers
        self.own_hash: set[type] = set()  # of untrusted values: classes whose instances only code can hash
        self.unused = 0

    def read(self, data: bytes | memoryview) -> Any:
        """Return the value. What malformed bytes raise is not yet translated.

        Raises:
            UntrustedEntry: not trusted, and decoding would run code.
            MalformedObject: a class has gone or changed.
            Exception: anything else that is wrong with the bytes.
        """
        if self.trusted:
            value = unpackb(
                data,
                strict_map_key=False,
                unicode_errors="surrogatepass",
                ext_hook=self.leaf,
                list_hook=self.array,
            )
        else:
            # Pairs, so that keys are seen before they are hashed.
            value = unpackb(
                data,
                strict_map_key=False,
                unicode_errors="surrogatepass",
                ext_hook=self.leaf,
                list_hook=self.array,
                object_pairs_hook=self.pairs,
            )
            if type(value) is Timestamp:
                raise ValueError("a tag that the plain codec does not have")
        if self.unused:
            raise ValueError("a mark that starts no array")
        return value

    def leaf(self, code: int, data: bytes) -> Any:
        """Return the value of a leaf, or a mark."""
        make = _LEAVES.get(code)
        if make is not None:
            return make(self, data)
        mark = _MARKS.get(code)
        if mark is None or data:
            raise ValueError("a tag that the plain codec does not have")
        self.unused += 1
        return mark

    def array(self, items: list[Any]) -> Any:
        """Return the value of a finished array."""
        if not self.trusted and Timestamp in map(type, items):
            raise ValueError("a tag that the plain codec does not have")
        if items and type(items[0]) is Mark:
            self.unused -= 1
            return items.pop(0).make(self, items)
        return items

    def pairs(self, pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
        """Return the dict of an untrusted msgpack map."""
        for key, item in pairs:
            if type(key) not in KEYS or type(item) is Timestamp:
                raise ValueError("a map with a key or an item that the plain codec does not write")
        value = dict(pairs)
        if len(value) != len(pairs):
            raise ValueError("a key twice")
        return value

    def own(self, number: int) -> Memory:
        """Return a buffer as memory of one value. Two values on one buffer would change each other."""
        if not self.libraries or number in self.taken:
            raise ValueError("memory that no value may have")
        self.taken[number] = None
        self.unused += 1
        return Memory(self.buffers[number])

    def memory(self, part: Any, size: int | None = None) -> memoryview:
        """Return the bytes of a part that is memory, in the head or in a buffer.

        Raises:
            TypeError, ValueError: it is none, or not of `size` bytes.
        """
        if type(part) is Memory:
            self.unused -= 1
            view = memoryview(part.buffer)
            view = view if view.format == "B" and view.ndim == 1 else view.cast("B")
        elif type(part) is bytes:
            view = memoryview(part)
        else:
            raise TypeError("memory is missing")
        if size is not None and len(view) != size:
            raise ValueError(f"memory of {len(view)} bytes where {size} belong")
        return view

    def may_hash(self, items: Any) -> None:
        """Let items be hashed.

        Raises:
            UntrustedEntry: not trusted, and hashing one of them would run code that its class defines.
        """
        if self.trusted:
            return
        for item in items:
            kind = type(item)
            if kind in self.own_hash:
                raise UntrustedEntry(
                    f"{kind.__module__}:{kind.__qualname__}", "hashing it would run its own code"
                )
            # Not isinstance: it asks an item of another type for its `__class__`, which may be a property.
            if issubclass(kind, (tuple, frozenset)):
                self.may_hash(item)
            elif kind is slice:
                self.may_hash((item.start, item.stop, item.step))


def _raise_big_int(_reader: Reader, data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


def _raise_complex(_reader: Reader, data: bytes) -> complex:
    return complex(*_DOUBLES.unpack(data))


def _raise_singleton(_reader: Reader, data: bytes) -> Any:
    return {b"\x00": ..., b"\x01": NotImplemented}[data]


def _raise_buffer(reader: Reader, data: bytes) -> bytes:
    number = _INDEX.unpack(data)[0]
    # One object for all places that name the buffer: a head of foreign bytes can name it thousands of times.
    content = reader.taken.get(number)
    if content is None:
        if number in reader.taken:
            raise ValueError("a buffer that is the memory of another value")
        buffer = reader.buffers[number]
        content = reader.taken[number] = buffer if type(buffer) is bytes else bytes(buffer)
    return content


def _raise_back(reader: Reader, data: bytes) -> Any:
    return reader.shared[_INDEX.unpack(data)[0]]


def _raise_shared(reader: Reader, items: list[Any]) -> Any:
    number, value = items
    # What is no object of its own may be read once only. Tuples in tuples would take long to hash if each
    # could be there many times.
    kind = type(value)
    if issubclass(kind, (Mark, Memory, Timestamp, classes.KnownClass, tuple, frozenset, slice)):
        raise TypeError("what cannot be changed need not be shared")
    if type(number) is not int or number in reader.shared:
        raise ValueError("a number twice")
    reader.shared[number] = value
    return value


def _raise_memory(reader: Reader, data: bytes) -> Memory:
    return reader.own(_INDEX.unpack(data)[0])


def _raise_library(reader: Reader, items: list[Any]) -> Any:
    if not reader.libraries:
        raise ValueError("a tag that the plain codec does not have")
    reader.found = True
    return libraries.raise_library(reader, items)


def _raise_set(reader: Reader, items: list[Any]) -> set[Any]:
    reader.may_hash(items)
    value = set(items)
    if len(value) != len(items):
        raise ValueError("an item twice")
    return value


def _raise_map(reader: Reader, items: list[Any]) -> dict[Any, Any]:
    keys = items[::2]
    reader.may_hash(keys)
    value = dict(zip(keys, items[1::2], strict=True))
    if len(value) != len(keys):
        raise ValueError("a key twice")
    return value


def _raise_range(_reader: Reader, items: list[Any]) -> range:
    start, stop, step = items
    if {type(start), type(stop), type(step)} != {int}:  # an instance could have an `__index__` of its own
        raise TypeError("a range needs ints")
    return range(start, stop, step)


def _raise_slice(_reader: Reader, items: list[Any]) -> slice:
    start, stop, step = items
    return slice(start, stop, step)


def _raise_bytearray(_reader: Reader, items: list[Any]) -> bytearray:
    (data,) = items
    if type(data) is not bytes:
        raise TypeError("a bytearray needs bytes")
    return bytearray(data)


_LEAVES: dict[int, RaiseLeaf] = {
    tags.BIG_INT: _raise_big_int,
    tags.COMPLEX: _raise_complex,
    tags.SINGLETON: _raise_singleton,
    tags.BUFFER: _raise_buffer,
    tags.MEMORY: _raise_memory,
    tags.BACK: _raise_back,
    **stdlib.LEAVES,
}

_MARKS: dict[int, Mark] = {
    tags.TUPLE: Mark(lambda _reader, items: tuple(items)),
    tags.SET: Mark(_raise_set),
    tags.FROZENSET: Mark(lambda reader, items: frozenset(_raise_set(reader, items))),
    tags.MAP: Mark(_raise_map),
    tags.RANGE: Mark(_raise_range),
    tags.SLICE: Mark(_raise_slice),
    tags.BYTEARRAY: Mark(_raise_bytearray),
    tags.LIBRARY: Mark(_raise_library),
    tags.SHARED: Mark(_raise_shared),
    **{code: Mark(make) for code, make in (stdlib.NODES | classes.NODES).items()},
}
