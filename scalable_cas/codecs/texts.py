"""Texts and single values that a library keeps as Python objects, as a few blocks of memory.

A million texts in a column are three arrays here: lengths, bytes, and which are missing. Lengths rather than
the usual offsets, because a row that is inserted shifts every offset behind it, and then nothing of the block
is shared with the version before.
"""

from __future__ import annotations

import sys
from itertools import accumulate

import numpy as np

from scalable_cas.codecs.tags import NotPlain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.codecs.lifting import Reader
    from scalable_cas.codecs.lowering import Lowering

_LENGTH = np.dtype("<u4")
_INT, _FLOAT, _BYTE = np.dtype("<i8"), np.dtype("<f8"), np.dtype("u1")
_NAN = np.float64(np.nan).tobytes()

# Kinds of objects, as bytes of a block. A number, once given, is never given again.
_STR_AT, _NONE_AT, _FALSE_AT, _TRUE_AT, _NAN_AT, _NA_AT, _NAT_AT, _INT_AT, _FLOAT_AT, _BYTES_AT, _OTHER_AT = (
    range(11)
)


class _Kinds(dict[type, int]):
    def __missing__(self, _kind: type) -> int:
        return _OTHER_AT


def _kinds() -> _Kinds:
    found: dict[type, int] = {
        str: _STR_AT,
        type(None): _NONE_AT,
        bool: _FALSE_AT,
        int: _INT_AT,
        float: _FLOAT_AT,
    }
    known = _Kinds(found)
    known.update({float: _FLOAT_AT, bytes: _BYTES_AT})
    pandas = sys.modules.get("pandas")
    for name, at in (("NA", _NA_AT), ("NaT", _NAT_AT)):
        single = getattr(pandas, name, None)
        if single is not None:
            known[type(single)] = at
    return known


# --- texts -------------------------------------------------------------------------------------------------


def lower_pieces(state: Lowering, pieces: list[bytes]) -> list[Any]:
    """Return lengths and content of pieces of bytes."""
    lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
    return [lower_lengths(state, lengths), state.memory(b"".join(pieces))]


def lower_lengths(state: Lowering, lengths: Any) -> Any:
    """Return what stands for an array of lengths.

    Raises:
        NotPlain: one of them is 4 GiB or more.
    """
    if len(lengths) and int(lengths.max()) >= 1 << 32:
        raise NotPlain("a text of 4 GiB")
    return state.memory(lengths.astype(_LENGTH).data)


def lower_texts(state: Lowering, texts: list[str]) -> list[Any]:
    """Return lengths in bytes and UTF-8 of texts."""
    whole = "".join(texts)
    if whole.isascii():
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        return [lower_lengths(state, lengths), state.memory(whole.encode("ascii"))]
    return lower_pieces(state, [text.encode("utf-8", "surrogatepass") for text in texts])


def raise_lengths(reader: Reader, part: Any, count: int | None = None) -> Any:
    """Return an array of lengths (uint32)."""
    view = reader.memory(part, None if count is None else count * _LENGTH.itemsize)
    return np.frombuffer(view, _LENGTH)


def raise_pieces(reader: Reader, parts: Any, count: int | None = None) -> list[bytes]:
    """Return the pieces of bytes that `lower_pieces` wrote; `count` of them if that is known."""
    ends, content = _ends(reader, parts, count)
    whole = bytes(content)
    return [whole[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def raise_texts(reader: Reader, parts: Any, count: int | None = None) -> list[str]:
    """Return the texts that `lower_texts` wrote; `count` of them if that is known."""
    ends, content = _ends(reader, parts, count)
    places = zip([0, *ends], ends, strict=False)
    whole = bytes(content)
    if whole.isascii():
        text = whole.decode("ascii")
        return [text[start:end] for start, end in places]
    return [whole[start:end].decode("utf-8", "surrogatepass") for start, end in places]


def _ends(reader: Reader, parts: Any, count: int | None) -> tuple[list[int], memoryview]:
    lengths, content = parts_of(parts, 2)
    ends = list(accumulate(raise_lengths(reader, lengths, count).tolist()))
    return ends, reader.memory(content, ends[-1] if ends else 0)


def parts_of(parts: Any, count: int) -> list[Any]:
    """Return a list of so many parts as it is.

    Raises:
        TypeError: it is none.
    """
    if type(parts) is not list or len(parts) != count:
        raise TypeError(f"{count} parts are missing")
    return parts


# --- objects -----------------------------------------------------------------------------------------------


def lower_objects(state: Lowering, items: list[Any]) -> list[Any]:
    """Return what stands for objects that are plain values: which kind each is of, and the values by kind."""
    codes = np.fromiter(map(_kinds().__getitem__, map(type, items)), _BYTE, len(items))
    if not codes.any():  # nothing but texts, or nothing at all
        return [None, lower_texts(state, items)]
    for at in np.flatnonzero(codes == _FALSE_AT).tolist():
        codes[at] += items[at]
    for at in np.flatnonzero(codes == _INT_AT).tolist():
        if not -(1 << 63) <= items[at] < 1 << 63:
            codes[at] = _OTHER_AT
    places = np.flatnonzero(codes == _FLOAT_AT)
    floats = np.array([items[at] for at in places.tolist()], _FLOAT)
    usual = floats.view(np.int64) == np.frombuffer(_NAN, np.int64)
    codes[places[usual]] = _NAN_AT

    def of(kind: int) -> list[Any]:
        return [items[at] for at in np.flatnonzero(codes == kind).tolist()]

    return [
        state.memory(codes.data),
        lower_texts(state, of(_STR_AT)),
        lower_pieces(state, of(_BYTES_AT)),
        state.memory(np.array(of(_INT_AT), _INT).data),
        state.memory(floats[~usual].data),
        state.each(of(_OTHER_AT)),
    ]


def raise_objects(reader: Reader, parts: Any, count: int) -> Any:
    """Return the objects that `lower_objects` wrote, as an array of objects."""
    if type(parts) is list and len(parts) == 2 and parts[0] is None:
        return np.fromiter(raise_texts(reader, parts[1], count), object, count)
    kinds, texts, pieces, ints, floats, others = parts_of(parts, 6)
    codes = np.frombuffer(reader.memory(kinds, count), _BYTE)
    if type(others) is not list or (count and int(codes.max()) > _OTHER_AT):
        raise ValueError("objects of a kind that is not known")
    sizes = np.bincount(codes, minlength=_OTHER_AT + 1).tolist()
    if len(others) != sizes[_OTHER_AT]:
        raise ValueError("objects are missing")
    columns: dict[int, list[Any]] = {
        _STR_AT: raise_texts(reader, texts, sizes[_STR_AT]),
        _BYTES_AT: raise_pieces(reader, pieces, sizes[_BYTES_AT]),
        _INT_AT: np.frombuffer(reader.memory(ints, sizes[_INT_AT] * 8), _INT).tolist(),
        _FLOAT_AT: np.frombuffer(reader.memory(floats, sizes[_FLOAT_AT] * 8), _FLOAT).tolist(),
        _OTHER_AT: others,
    }
    found = np.empty(count, object)
    for at, single in ((_FALSE_AT, False), (_TRUE_AT, True), (_NAN_AT, np.nan)):
        if sizes[at]:
            found[codes == at] = single
    for at, name in ((_NA_AT, "NA"), (_NAT_AT, "NaT")):
        if sizes[at]:
            import pandas as pd

            found[codes == at] = getattr(pd, name)
    for at, values in columns.items():
        if sizes[at]:
            found[codes == at] = np.fromiter(values, object, sizes[at])
    return found
