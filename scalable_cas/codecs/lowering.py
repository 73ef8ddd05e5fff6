"""The way down: a value of plain types to nested lists, dicts and leaves that msgpack writes.

msgpack alone would lose what the caller can see. It writes a bytearray as bytes and refuses tuples, sets and
large ints; and it writes a list that occurs twice as two lists, so that after a hit a change of one no longer
shows in the other. So each value is walked once before it is packed. Containers whose parts are all of the
five types that msgpack keeps (asked with one `issuperset(map(type, ...))`, at C speed) are handed on as they
are; everything else is rebuilt with the tags of `tags.py`. What has no tag raises `NotPlain`, and a mutable
object that occurs twice raises `Twice`: then `sharing.py` walks the value.
"""

from __future__ import annotations

from struct import Struct

from msgpack import ExtType, Packer

from scalable_cas.codecs import tags
from scalable_cas.codecs.encoded import OUT_OF_BAND
from scalable_cas.codecs.tags import MARK, NotPlain, Twice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.codecs.shapes import Shape
    from scalable_cas.codecs.tags import Lower

#: Types that msgpack writes and reads back exactly. Not bytes, which may be large enough to leave the head.
LEAVES = frozenset({type(None), bool, int, float, str})
_LEAVES_BUT_INT = LEAVES - {int}
#: Types that may be keys of a msgpack map. A dict with any other key becomes an array, because what stands
#: for a tuple here (a list) cannot be a key, and because a reader of foreign bytes must see a key before
#: anything hashes it.
KEYS = LEAVES | {bytes}

#: Containers within containers. One container is at most two msgpack levels, and older msgpack readers stop
#: at 512 levels; each is also three Python frames here, which must fit beside the caller's own below the
#: usual limit of 1,000.
MAX_DEPTH = 200
#: Tuples of tuples that are written again where they occur again; a million records that share one are plain
#: data still, and take a second or two.
MOST_REPEATED = 1_000_000

_DOUBLES = Struct(">dd")
_INDEX = Struct(">I")

# Packers are reused because making one and its buffer costs as much as packing a small dict. A thread takes
# one out and puts it back (list methods are atomic): packing can run Python code of others through the
# garbage collector.
_packers: list[Packer] = []
_PACKER_BUFFER = 16 * 1024  # bytes; small enough for malloc to reuse, see above
_KEPT_RESULT = 1 << 20  # bytes; a packer never gives memory back, so one that packed more is dropped


def pack(tree: Any) -> bytes:
    """Return the msgpack bytes of what `Lowering` made.

    Raises:
        OverflowError: an int needs more than 64 bits.
        ValueError: a part is too large for msgpack.
        TypeError: a container was changed by another thread meanwhile.
    """
    try:
        packer = _packers.pop()
    except IndexError:
        packer = Packer(strict_types=True, buf_size=_PACKER_BUFFER)
    try:
        data: bytes = packer.pack(tree)
    except UnicodeEncodeError:
        # A lone surrogate. The bytes of all other text are the same either way; only this packer is slower by
        # half.
        lenient = Packer(strict_types=True, buf_size=_PACKER_BUFFER, unicode_errors="surrogatepass")
        return bytes(lenient.pack(tree))
    if len(data) <= _KEPT_RESULT:
        _packers.append(packer)
    return data


class Lowering:
    """The state of one walk.

    `buffers` collects what leaves the head, or is `None` to keep all in it. `wide` is set if an int does not
    fit 64 bits: then every int is looked at, which is left to a second walk because it is rare and slow.
    `tagged` becomes true with the first tag, `libraries` with the first value of a library.
    """

    __slots__ = (
        "_found",
        "_seen",
        "_tuples",
        "buffers",
        "classes",
        "depth",
        "leaves",
        "libraries",
        "orders",
        "repeated",
        "tagged",
    )

    def __init__(self, buffers: list[Any] | None, *, wide: bool, within: Lowering | None = None) -> None:
        self.buffers = buffers
        self.leaves = _LEAVES_BUT_INT if wide else LEAVES
        self.tagged = False
        self.libraries = False
        self.classes: dict[tuple[Shape, tuple[str, ...]], int] = {}
        self._found: dict[type, Lower] = {}
        self._seen: set[int] = set()
        self._tuples: set[int] = set()
        self.repeated = 0
        self.depth: int = 0 if within is None else within.depth
        self.orders: dict[int, list[Any]] = {} if within is None else within.orders

    def lower(self, value: Any) -> Any:
        """Return what stands for `value`.

        Raises:
            NotPlain: it could not be given back exactly.
        """
        kind = type(value)
        function = TABLE.get(kind)
        if function is None:
            function = self._found.get(kind)
            if function is None:
                if kind in self.leaves:
                    return value
                function = self._find(kind)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NotPlain("too many containers within containers")
        tree = function(self, value)
        self.depth -= 1
        return tree

    def once(self, value: object) -> None:
        """Note a mutable object.

        Raises:
            Twice: it occurs a second time, or contains itself.
        """
        name = id(value)  # stays unique during the walk: the value being walked holds all its parts
        if name in self._seen:
            raise Twice("a mutable object occurs twice")
        self._seen.add(name)

    def again(self, value: tuple[Any, ...]) -> None:
        """Note a tuple of tuples. One that occurs twice may be written twice; but thirty levels of `(t, t)`
        would be a thousand million leaves, which pickle writes as thirty.

        Raises:
            NotPlain: such tuples have occurred again too often.
        """
        name = id(value)
        if name in self._tuples:
            self.repeated += 1
            if self.repeated > MOST_REPEATED:
                raise NotPlain("tuples that occur again and again")
        else:
            self._tuples.add(name)

    def each(self, items: Any) -> list[Any]:
        """Return what stands for each item."""
        leaves, lower = self.leaves, self.lower
        if leaves.issuperset(map(type, items)):
            return list(items)
        return [item if type(item) in leaves else lower(item) for item in items]

    def marked(self, code: int, *parts: Any) -> list[Any]:
        """Return the array of a marked value. `parts` are lowered already."""
        self.tagged = True
        return [MARK[code], *parts]

    def leaf(self, code: int, data: bytes) -> ExtType:
        """Return a leaf with a tag."""
        self.tagged = True
        return ExtType(code, data)

    def library(self, name: str, *parts: Any) -> list[Any]:
        """Return the array of a value of a library. `parts` are lowered already."""
        self.tagged = self.libraries = True
        return [MARK[tags.LIBRARY], name, *parts]

    def memory(self, view: bytes | memoryview) -> Any:
        """Return what stands for memory that a value of a library owns: bytes in the head if it is small,
        else the number of a buffer.

        Not a copy: a buffer is a view of the live value. Its item size is that of its elements, which is how
        a store knows where it may cut and what it may shuffle.
        """
        size = view.nbytes if type(view) is memoryview else len(view)
        if size < OUT_OF_BAND or self.buffers is None:
            return bytes(view)
        self.buffers.append(view)
        return self.leaf(tags.MEMORY, _INDEX.pack(len(self.buffers) - 1))

    def by_bytes(self, items: set[Any] | frozenset[Any]) -> list[Any]:
        """Return the items of a set in the order of their bytes, the only order that does not depend on the
        process.

        Each is encoded for itself: inside the value its bytes also depend on what came before (classes,
        buffers). So sets within sets are met again on every level above them; their order is remembered, or
        the time would double with each level.
        """
        order = self.orders.get(id(items))
        if order is None:
            order = self.orders[id(items)] = sorted(items, key=self._bytes_alone)
        return order

    def _bytes_alone(self, item: Any) -> bytes:
        try:
            if type(item) in LEAVES:
                return pack(item)
            return pack(Lowering(None, wide=False, within=self).lower(item))
        except OverflowError:
            return pack(Lowering(None, wide=True, within=self).lower(item))

    def _find(self, kind: type) -> Lower:
        from scalable_cas.codecs import classes, libraries, stdlib

        function = stdlib.lower_for(kind) or libraries.lower_for(kind)
        if function is not None:
            TABLE[kind] = function
            return function
        # Not kept beyond this walk: a user's class can be redefined, and must not be held alive by us.
        function = classes.lower_for(kind)
        if function is None:
            raise NotPlain(f"{kind.__qualname__} is not a plain type")
        self._found[kind] = function
        return function


def _list(state: Lowering, value: list[Any]) -> list[Any]:
    state.once(value)
    leaves = state.leaves
    if leaves.issuperset(map(type, value)):
        return value
    lower = state.lower
    return [item if type(item) in leaves else lower(item) for item in value]


def _dict(state: Lowering, value: dict[Any, Any]) -> Any:
    state.once(value)
    leaves = state.leaves
    if leaves.issuperset(map(type, value)) and leaves.issuperset(map(type, value.values())):
        return value  # `mapping` would say so too; most dicts are like this, and a call costs a tenth of all
    return mapping(state, value)


def mapping(state: Lowering, value: dict[Any, Any]) -> Any:
    """Return what stands for a dict, without noting it: for copies, whose id another object may get."""
    leaves = state.leaves
    if leaves.issuperset(map(type, value)):
        if leaves.issuperset(map(type, value.values())):
            return value
        lower = state.lower
        return {key: item if type(item) in leaves else lower(item) for key, item in value.items()}
    if KEYS.issuperset(map(type, value)):
        return dict(zip(state.each(value), state.each(value.values()), strict=True))
    pairs = [part for pair in value.items() for part in pair]
    return state.marked(tags.MAP, *state.each(pairs))


def _tuple(state: Lowering, value: tuple[Any, ...]) -> list[Any]:
    state.tagged = True
    if tuple in map(type, value):
        state.again(value)
    return [MARK[tags.TUPLE], *state.each(value)]


def _set(state: Lowering, value: set[Any]) -> list[Any]:
    state.once(value)
    return state.marked(tags.SET, *state.each(state.by_bytes(value)))


def _frozenset(state: Lowering, value: frozenset[Any]) -> list[Any]:
    return state.marked(tags.FROZENSET, *state.each(state.by_bytes(value)))


def _bytes(state: Lowering, value: bytes) -> Any:
    if len(value) < OUT_OF_BAND or state.buffers is None:
        return value
    state.buffers.append(value)
    return state.leaf(tags.BUFFER, _INDEX.pack(len(state.buffers) - 1))


def _bytearray(state: Lowering, value: bytearray) -> list[Any]:
    state.once(value)
    return state.marked(tags.BYTEARRAY, _bytes(state, bytes(value)))


def _int(state: Lowering, value: int) -> Any:
    if -(1 << 63) <= value < 1 << 64:
        return value
    size = value.bit_length() // 8 + 1  # one bit more than the magnitude has, for the sign
    return state.leaf(tags.BIG_INT, value.to_bytes(size, "big", signed=True))


def _complex(state: Lowering, value: complex) -> ExtType:
    return state.leaf(tags.COMPLEX, _DOUBLES.pack(value.real, value.imag))


def _ellipsis(state: Lowering, _value: object) -> ExtType:
    return state.leaf(tags.SINGLETON, b"\x00")


def _not_implemented(state: Lowering, _value: object) -> ExtType:
    return state.leaf(tags.SINGLETON, b"\x01")


def _range(state: Lowering, value: range) -> list[Any]:
    return state.marked(tags.RANGE, *state.each((value.start, value.stop, value.step)))


def _slice(state: Lowering, value: slice) -> list[Any]:
    return state.marked(tags.SLICE, *state.each((value.start, value.stop, value.step)))


#: By exact type. Types outside builtins are added when one is first met, so that none of their modules is
#: imported for a question that only a value can ask.
TABLE: dict[type, Lower] = {
    list: _list,
    dict: _dict,
    tuple: _tuple,
    set: _set,
    frozenset: _frozenset,
    bytes: _bytes,
    bytearray: _bytearray,
    int: _int,
    complex: _complex,
    range: _range,
    slice: _slice,
    type(...): _ellipsis,
    type(NotImplemented): _not_implemented,
}
