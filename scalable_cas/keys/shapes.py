"""Sets of keys that come again and again: configurations and records, whose order of keys is found only once.

Encoding a dict of 20 spends more than half of its time on its keys: looking up each one's encoding, joining
it to the value, sorting the pairs. But nearly all dicts that reach a key have the same keys as one before. So
for a set of keys that is seen a second time, a *shape* is kept: the keys in the order of their encodings, and
the encodings with gaps between them. A call then picks the values in that order and fills the gaps. The bytes
are the same either way.
"""

from __future__ import annotations

from .tags import encode_str, pack_u64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Shape = tuple[
        Callable[[Any], tuple[Any, ...]], list[bytes]
    ]  # picks the values; the pieces, gaps at odd places

# With fewer keys a look-up costs what it saves; with more, the dict is rather data than a configuration.
FEWEST, MOST = 6, 64
_MOST_SHAPES = 512
_ONLY_STR = {str}

_shapes: dict[tuple[Any, ...], Shape | None] = {}  # None: seen once


def shape_of(keys: tuple[Any, ...]) -> Shape | None:
    """The shape of a dict with these keys in this order; None if it was not seen before, or not all keys are
    str.

    A tuple found equal may still hold a subclass of str in place of a str, so the types are looked at each
    time.
    """
    if {*map(type, keys)} != _ONLY_STR:
        return None
    shape = _shapes.get(keys)
    if shape is None:
        if len(_shapes) >= _MOST_SHAPES:
            _shapes.clear()
        _shapes[keys] = _build(keys) if keys in _shapes else None
    return shape


def _build(keys: tuple[str, ...]) -> Shape:
    from operator import itemgetter

    ordered = sorted(keys, key=encode_str)
    pieces = [b""] * (2 * len(keys))
    pieces[0::2] = map(encode_str, ordered)
    pieces[0] = b"d" + pack_u64(len(keys)) + pieces[0]
    return itemgetter(*ordered), pieces
