"""What a handler says about a value: a leaf (bytes) or a node (a prefix and children), and how it refuses.

A handler never encodes its children and never recurses. It returns a node, and the engine in ``encode.py``
walks it; so depth, cycles, sharing and the path in an error are solved once, for every type.
"""

from __future__ import annotations

from .digest import LARGE, hasher
from .tags import pack_u64, typed_prefix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from blake3 import blake3

    from .files import Token

    Leaf = Callable[[Any], bytes]
    Node = tuple[
        bytes, int, Sequence[Any]
    ]  # prefix, mode, children (for the modes of pairs: a list of (key, value))
    Decompose = Callable[[Any, "Walk"], Node]

# Modes: whether the order of the children counts, whether they are pairs, and how a path names them.
ITEMS, SET, PAIRS, ATTRS, ORDERED, PARTS, DONE = range(7)
# ITEMS   in order, [0]          SET     encodings sorted, {item}
# PAIRS   sorted, ["key"]        ATTRS   sorted, .name          ORDERED   pairs in order, ["key"]
# PARTS   in order; a part adds nothing to the path: it is the value itself, seen from one side
# DONE    no children: the prefix is the whole encoding (an array of numbers, whose type may need a node too)
PAIRED = frozenset((PAIRS, ATTRS, ORDERED))
SORTED = frozenset((SET, PAIRS, ATTRS))


class Refused(Exception):
    """A value has no canonical encoding. ``path`` is filled in by the engine that knows it. ``structural``:
    although ``__reduce_ex__`` could be used.
    """

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path
        self.structural = False


class GiveUp(Exception):
    """Too deep for the fast engine, or in need of something that a quick walk does not carry."""


class Walk:
    """What the encoding of the arguments of one call carries along, and what it found.

    ``memo``: id -> (encoding, the object, kept alive so that its id stays its own), for finished ``H``
    digests, and large arrays, only. ``pieces`` and ``entries``: the encodings of the arguments, for the
    record of a call that turns out to be a miss (``pieces``: as quick.py has them, in its order).
    ``structural``: the argument was declared ``ObjectType``: take apart by ``__reduce_ex__`` what would be
    refused. ``computing``: it was declared ``UtilityType``: data that is not
    in memory yet may be computed or read. ``inputs``: tokens of the files that were read (files.py); None in
    the quick path of a call, which has none. ``before``: such tokens of the same call, which need not be read
    again.
    """

    __slots__ = ("_running", "before", "computing", "entries", "inputs", "memo", "pieces", "structural")

    def __init__(
        self,
        inputs: list[Token] | None = None,
        *,
        structural: bool = False,
        computing: bool = False,
        before: Sequence[Token] = (),
    ) -> None:
        self.memo: dict[int, tuple[bytes, object]] = {}
        self.structural = structural
        self.computing = computing
        self.inputs = inputs
        self.before = before
        self.pieces: list[bytes] | None = None
        self.entries: Sequence[tuple[str, object, bytes]] = ()
        self._running: blake3 | None = None

    def let_go(self) -> None:
        """Of all that was kept alive for the rest of the encoding; what was found stays."""
        self.memo = {}
        self._running = None

    def hasher(self, size: int) -> blake3:
        """As `digest.hasher`; done with before the next is asked for, which may be the same one."""
        if size < LARGE:
            return hasher(size)
        self._running = running = hasher(size, self._running)
        return running


class Raw:
    """Bytes that are already an encoding, as a child of a node."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class Labelled(list):  # type: ignore[type-arg]
    """Children of a node of parts whose places have names: ``label(place)`` is what a path calls one."""

    __slots__ = ("label",)
    label: Callable[[int], str]


class Fields(dict):  # type: ignore[type-arg]  # a plain dict for the encoding; only its paths read .name
    """The attributes of an object: encoded as a dict, named in paths as attributes."""

    __slots__ = ()


class Structural:
    """A value declared ``ObjectType``: encoded as itself, in a walk that may use ``__reduce_ex__``."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


class Computing:
    """A value declared ``UtilityType``: encoded as itself, in a walk that may compute what is lazy."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


class Viewed:
    """An instance of a subclass, to be encoded as one of the base type that ``node`` takes apart."""

    __slots__ = ("node", "value")

    def __init__(self, value: object, node: Any) -> None:
        self.value = value
        self.node = node


def added_to(value: Any, *own: str) -> tuple[Fields, ...]:
    """One part more for the attributes that an instance of a library's type was given (``df.name = …``), if
    it was; ``own`` are those that the type gives it itself. What the class has by that name is remembered
    there (``.str`` of pandas 2), and names that begin with ``_`` are the library's.
    """
    names = vars(value).keys() - own
    if not names:
        return ()
    kind, space = type(value), vars(value)
    found = {
        name: space[name] for name in names if not f"{name}".startswith("_") and not hasattr(kind, f"{name}")
    }
    return (Fields(found),) if found else ()


def typed_node(kind: str, parts: Sequence[Any]) -> Node:
    """The node of a typed object whose parts are in order and unnamed."""
    return typed_prefix(kind), PARTS, parts


def head(prefix: bytes, count: int) -> bytes:
    """Start of an encoded node: prefix and number of children (pairs count once)."""
    return prefix + pack_u64(count)


def column_label(name: object) -> str:
    """What a column is called in a path."""
    if type(name) is str:
        return f' column "{name if len(name) <= 40 else name[:39] + "…"}"'
    return (
        f" column {name}" if type(name) is int and abs(name) < 10**9 else f" column [{type(name).__name__}]"
    )
