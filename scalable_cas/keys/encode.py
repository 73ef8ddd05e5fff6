"""From a value to its canonical bytes: the two engines that walk nodes.

The problem: nearly every argument is small and flat, and must cost a microsecond; some are 100,000 levels
deep, contain themselves, or share one part 2**60 times, and must still give an answer. One careful walk for
all costs three times as much on the small ones, for cycles and paths that they do not have. So there are two
engines that give the same bytes (tests/keys/test_engines.py compares them on everything):

- the *fast* one recurses, knows no cycles and no paths, and gives up at ``_SHALLOW`` levels. A cycle is
infinitely deep,
  so it gives up there too, before it could write anything wrong;
- the *deep* one keeps its own stack, writes back references for cycles and knows the path to what it refuses.
It starts
  over from the root when the fast one gave up.

Both keep a memo of finished ``H`` digests, without which a value that shares parts takes time exponential in
its depth. Only digests of more than 1 KiB are kept: what is smaller has few parts, and repeating them is
cheaper than a look-up each.
"""

from __future__ import annotations

from blake3 import blake3

from .nodes import (
    ATTRS,
    DONE,
    ITEMS,
    ORDERED,
    PAIRED,
    PAIRS,
    SORTED,
    Computing,
    GiveUp,
    Refused,
    Structural,
    Walk,
    head,
)
from .registry import LEAVES, NODES, resolve
from .shapes import FEWEST, MOST, shape_of
from .tags import (
    F_TAG,
    FALSE,
    I_TAG,
    INLINE,
    NONE,
    TRUE,
    _short,
    encode_int,
    encode_str,
    finish,
    pack_float,
    pack_int,
    pack_u64,
    struct_error,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from .nodes import Node
    from .shapes import Shape

# Levels of the fast engine: real configurations have under ten, and 80 frames fit into nearly any stack.
_SHALLOW = 40
# Items encoded at once: a longer list goes to the hasher in blocks, so its encoding is never whole in memory.
_BLOCK = 8192
_DETOURS = 100_000  # how often parts of a cycle may be met again (see _Deep.detour)


def encode(value: object, walk: Walk | None = None) -> bytes:
    """The canonical encoding of ``value``: at most about 1 KiB, equal exactly for equal values of equal
    types.

    Raises:
        Refused: the value, or a part of it, has no canonical encoding; with the path to it.
    """
    if walk is None:
        walk = Walk([])
    inputs = walk.inputs
    known = len(inputs) if inputs is not None else 0
    try:
        return _fast(value, walk, 0)
    except (GiveUp, Refused, RecursionError, RuntimeError):
        # RecursionError: the caller's own stack is nearly full. RuntimeError: another thread changes the dict
        # we iterate; the deep engine works on copies. A handler's own RuntimeError comes again from there,
        # unchanged.
        pass
    walk.memo.clear()
    if inputs is not None:
        del inputs[known:]
    return _Deep(walk).run(value)


def _fast(value: object, walk: Walk, depth: int) -> bytes:
    kind = type(value)
    leaf = LEAVES.get(kind)
    if leaf is not None:
        return leaf(value)
    return _node(value, kind, walk, depth)


def _node(value: Any, kind: type, walk: Walk, depth: int) -> bytes:
    memo = walk.memo
    if memo and (found := memo.get(id(value))) is not None:
        return found[0]
    if depth >= _SHALLOW:
        raise GiveUp
    depth += 1
    if kind is dict:
        shape = shape_of((*value,)) if FEWEST <= len(value) <= MOST else None
        if shape is not None:
            encoded = _shaped(value, shape, walk, depth)
        else:
            pairs = _pairs(value.items(), walk, depth)
            pairs.sort()
            encoded = b"d" + pack_u64(len(pairs)) + b"".join(pairs)
    elif (kind is list or kind is tuple) and len(value) <= _BLOCK:
        parts = _items(value, walk, depth)
        encoded = (b"l" if kind is list else b"t") + pack_u64(len(parts)) + b"".join(parts)
    else:
        return _other(value, kind, walk, depth)
    if len(encoded) <= INLINE:
        return encoded
    digest = b"H" + blake3(encoded).digest()
    memo[id(value)] = (digest, value)
    return digest


def _shaped(value: dict[Any, Any], shape: Shape, walk: Walk, depth: int) -> bytes:
    pick, pieces = shape
    try:
        values = pick(value)
    except KeyError as error:  # another thread took a key away since we looked
        raise GiveUp from error
    pieces = pieces[:]
    pieces[1::2] = _items(values, walk, depth)
    return b"".join(pieces)


def _other(value: object, kind: type, walk: Walk, depth: int) -> bytes:
    decompose = NODES.get(kind)
    if decompose is None:
        resolve(kind)
        return _fast(value, walk, depth - 1)
    if kind is Structural or kind is Computing:
        return _under_other_rules(value, walk)  # type: ignore[arg-type]
    prefix, mode, children = decompose(value, walk)
    if mode == DONE:
        return prefix
    if mode in PAIRED:
        parts = _pairs(children, walk, depth)
    elif mode == ITEMS and len(children) > _BLOCK:
        digest = _blocks(prefix, children, walk, depth)
        walk.memo[id(value)] = (digest, value)
        return digest
    else:
        parts = _items(children, walk, depth)
    if mode in SORTED:
        parts.sort()
    encoded = finish(head(prefix, len(parts)) + b"".join(parts))
    if encoded[0] == 72:  # "H"
        walk.memo[id(value)] = (encoded, value)
    return encoded


def _under_other_rules(value: Structural | Computing, walk: Walk) -> bytes:
    """A walk of its own, because what this one remembers was found under its own rules."""
    structural = walk.structural or type(value) is Structural
    computing = walk.computing or type(value) is Computing
    inner = Walk(walk.inputs, structural=structural, computing=computing, before=walk.before)
    try:
        return encode(value.value, inner)
    except Refused as error:
        error.structural |= structural
        raise


def _blocks(prefix: bytes, items: Sequence[object], walk: Walk, depth: int) -> bytes:
    """The ``H`` digest of a long list. (More than 1,023 items are more than 1 KiB, so it always is one.)"""
    items = items[:]  # one snapshot: another thread may append
    hasher = blake3(head(prefix, len(items)))
    for start in range(0, len(items), _BLOCK):
        hasher.update(b"".join(_items(items[start : start + _BLOCK], walk, depth)))
    return b"H" + hasher.digest()


def encode_quickly(values: Sequence[object], walk: Walk) -> list[bytes]:
    """The encodings of the arguments of one call, by the fast engine only. ``walk``: without ``inputs``.

    Raises:
        Exception: anything that ``encode`` would treat with the deep engine. Start again with that.
    """
    return _items(values, walk, 0)


# The two loops below are the hot path of the whole package: the five most frequent types are written out,
# because a call per leaf would double the time (measured: 11 against 6 µs for a dict of 20).


def _items(values: Iterable[object], walk: Walk, depth: int) -> list[bytes]:
    parts: list[bytes] = []
    add = parts.append
    for value in values:
        kind = type(value)
        if kind is str:
            add(_short.get(value) or encode_str(value))  # type: ignore[call-overload, arg-type]
        elif kind is int:
            try:
                add(pack_int(I_TAG, value))
            except struct_error:
                add(encode_int(value))  # type: ignore[arg-type]
        elif kind is float and value == value:  # noqa: PLR0124 (NaN differs from itself; it goes to its leaf handler)
            add(pack_float(F_TAG, value))
        elif value is None:
            add(NONE)
        elif value is True:
            add(TRUE)
        elif value is False:
            add(FALSE)
        elif kind is dict or kind is list or kind is tuple:
            add(_node(value, kind, walk, depth))
        else:
            add(_fast(value, walk, depth))
    return parts


def _pairs(pairs: Iterable[tuple[object, object]], walk: Walk, depth: int) -> list[bytes]:
    parts: list[bytes] = []
    add = parts.append
    for key, value in pairs:
        name = (_short.get(key) or encode_str(key)) if type(key) is str else _fast(key, walk, depth)
        kind = type(value)
        if kind is str:
            add(name + (_short.get(value) or encode_str(value)))  # type: ignore[call-overload, arg-type]
        elif kind is int:
            try:
                add(name + pack_int(I_TAG, value))
            except struct_error:
                add(name + encode_int(value))  # type: ignore[arg-type]
        elif kind is float and value == value:  # noqa: PLR0124 (as above)
            add(name + pack_float(F_TAG, value))
        elif value is None:
            add(name + NONE)
        elif value is True:
            add(name + TRUE)
        elif value is False:
            add(name + FALSE)
        elif kind is dict or kind is list or kind is tuple:
            add(name + _node(value, kind, walk, depth))
        else:
            add(name + _fast(value, walk, depth))
    return parts


class _Frame:
    """A container that is being encoded by the deep engine."""

    __slots__ = ("children", "low", "mode", "named", "next", "parts", "prefix", "value")

    def __init__(self, value: object, node: Node, level: int) -> None:
        self.value = value
        self.prefix, self.mode, children = node
        self.named = getattr(children, "label", None)
        # pairs are walked as key, value, key, value …
        self.children = (
            [part for pair in children for part in pair] if self.mode in PAIRED else list(children)
        )
        self.next = 0
        self.parts: list[bytes] = []
        self.low = level  # the outermost level that a reference inside points to

    def label(self) -> str:
        """What the child that is being encoded is called in a path."""
        place = self.next - 1
        if self.named is not None:
            return str(self.named(place))
        if self.mode == ITEMS:
            return f"[{place}]"
        if self.mode == ATTRS:
            return f".{self.children[place - 1]}" if place % 2 else "{attribute}"
        if self.mode in (PAIRS, ORDERED):
            return _key_label(self.children[place - 1]) if place % 2 else "{key}"
        return "{item}" if self.mode in SORTED else ""

    def assemble(self) -> bytes:
        parts = self.parts
        if self.mode in PAIRED:
            parts = [parts[i] + parts[i + 1] for i in range(0, len(parts), 2)]
        if self.mode in SORTED:
            parts.sort()
        return finish(head(self.prefix, len(parts)) + b"".join(parts))


def _key_label(key: object) -> str:
    if type(key) is str:
        return f'["{key if len(key) <= 40 else key[:39] + "…"}"]'
    return f"[{key}]" if type(key) is int and -(10**9) < key < 10**9 else f"[{type(key).__name__}]"


class _Deep:
    """The engine with a stack of its own: any depth, cycles, and the path to what is refused."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.stack: list[_Frame] = []
        self.open: dict[int, int] = {}  # id of a container on the stack -> its level
        self.cyclic: dict[int, object] = {}  # finished containers with a reference that leaves them
        self.detours = 0

    def run(self, value: object) -> bytes:
        stack = self.stack
        try:
            done = self.enter(value)
            while stack:
                frame = stack[-1]
                if done is not None:
                    frame.parts.append(done)
                if frame.next < len(frame.children):
                    child = frame.children[frame.next]
                    frame.next += 1
                    done = self.enter(child)
                else:
                    done = self.leave(frame)
        except Refused as error:
            error.path = "".join(frame.label() for frame in stack) + error.path
            raise
        assert done is not None
        return done

    def enter(self, value: object) -> bytes | None:
        """The encoding of a leaf, of a known container or of a reference; None if a frame was pushed."""
        kind = type(value)
        leaf = LEAVES.get(kind)
        if leaf is not None:
            return leaf(value)
        key, level = id(value), len(self.stack)
        opened = self.open.get(key)
        if opened is not None:
            self.stack[-1].low = min(self.stack[-1].low, opened)
            return b"R" + pack_u64(level - opened)
        found = self.walk.memo.get(key)
        if found is not None:
            return found[0]
        if key in self.cyclic:
            self.detour()
        if kind is Structural or kind is Computing:
            return _under_other_rules(value, self.walk)  # type: ignore[arg-type]
        decompose = NODES.get(kind)
        if decompose is None:
            resolve(kind)
            return self.enter(value)
        node = decompose(value, self.walk)
        if node[1] == DONE:
            return node[0]
        self.stack.append(_Frame(value, node, level))
        self.open[key] = level
        return None

    def detour(self) -> None:
        """Refuse a graph whose paths cannot be counted.

        A part of a cycle looks different from each place that it is reached from (its references have other
        distances), so its digest cannot be reused, and in a graph where everything refers to everything the
        number of paths is factorial. Numbering objects as pickle does would be linear, but then ``[a, a]``
        and ``[a, copy(a)]`` would differ.
        """
        self.detours += 1
        if self.detours > _DETOURS:
            raise Refused("its parts refer to each other along too many paths")

    def leave(self, frame: _Frame) -> bytes:
        """Close a finished frame; its encoding."""
        encoded = frame.assemble()
        self.stack.pop()
        level = len(self.stack)
        del self.open[id(frame.value)]
        if frame.low < level:
            self.stack[-1].low = min(self.stack[-1].low, frame.low)
            self.cyclic[id(frame.value)] = frame.value
        elif encoded[0] == 72:  # "H"
            self.walk.memo[id(frame.value)] = (encoded, frame.value)
        return encoded
