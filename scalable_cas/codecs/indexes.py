"""Indexes of pandas, down and up again."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scalable_cas.codecs.arrays import column, exactly, lower_array
from scalable_cas.codecs.frame_arrays import is_column, lower_column
from scalable_cas.codecs.frame_values import lower_offset, raise_offset
from scalable_cas.codecs.tags import NotPlain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.codecs.lifting import Reader
    from scalable_cas.codecs.lowering import Lowering
    from scalable_cas.codecs.tags import Lower, RaiseNode

#: Kinds of index that are a name and an array.
_PLAIN: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        *(pd.Index, pd.CategoricalIndex, pd.IntervalIndex, pd.PeriodIndex),
        *(pd.DatetimeIndex, pd.TimedeltaIndex),
    )
}
_KINDS = (*_PLAIN.values(), pd.RangeIndex, pd.MultiIndex)
_MOST_LEVELS = 1000  # of a MultiIndex; pandas needs time for each


def lowering() -> dict[type, Lower]:
    """The way down by exact type."""
    return dict.fromkeys(_KINDS, _lower_once)


def _lower_once(state: Lowering, index: Any) -> Any:
    state.once(index)
    return lower_index(state, index)


def added(value: Any) -> set[str]:
    """The attributes that an object of pandas was given. It keeps its own under names with an underscore,
    and pandas 2 also `.str` and its like, which the class has.
    """
    names = vars(value).keys() - {"sortorder"}
    return {name for name in names if not name.startswith("_") and not hasattr(type(value), name)}


def lower_index(state: Lowering, index: Any) -> Any:
    """Return what stands for an index, without noting it: for parts of other values, which share indexes.

    Raises:
        NotPlain: it is of a class of somebody else's.
    """
    kind = type(index)
    if added(index):
        raise NotPlain("an index that was given attributes")
    if kind is pd.RangeIndex:
        return state.library(
            "pandas.RangeIndex", *state.each((index.name,)), index.start, index.stop, index.step
        )
    if kind is pd.MultiIndex:
        levels = [lower_index(state, level.rename(None)) for level in index.levels]
        codes = [lower_array(state, np.asarray(codes)) for codes in index.codes]
        return state.library(
            "pandas.MultiIndex", state.each(list(index.names)), index.sortorder, levels, codes
        )
    if kind not in _KINDS:
        raise NotPlain(f"an index of class {kind.__qualname__}")
    freq = lower_offset(index.freq) if kind in (pd.DatetimeIndex, pd.TimedeltaIndex) else None
    return state.library(
        "pandas.Index", kind.__name__, *state.each((index.name,)), freq, lower_column(state, index.array)
    )


def is_index(value: Any) -> Any:
    """Return a part if it is an index.

    Raises:
        TypeError: it is not.
    """
    return exactly(value, *_KINDS)


def may_name(reader: Reader, name: Any) -> None:
    """Let something be a name: pandas hashes it.

    Raises:
        UntrustedEntry: not trusted, and hashing it would run code that its class defines.
        TypeError: it has no hash.
    """
    reader.may_hash((name,))
    hash(name)


def _raise_range(reader: Reader, items: list[Any]) -> Any:
    name, start, stop, step = items
    may_name(reader, name)
    if {type(start), type(stop), type(step)} != {int}:
        raise TypeError("a range needs ints")
    return pd.RangeIndex(start, stop, step, name=name)


def _raise_multi(reader: Reader, items: list[Any]) -> Any:
    names, order, levels, codes = (exactly(part, list, int, type(None)) for part in items)
    if not len(names) == len(levels) == len(codes) <= _MOST_LEVELS:
        raise ValueError("not a name and codes for each level")
    for name in names:
        may_name(reader, name)
    for level in levels:
        is_index(level)
    for line in codes:
        if column(line, None, len(codes[0])).dtype.kind != "i":
            raise ValueError("codes are whole numbers")
    return pd.MultiIndex(levels=levels, codes=codes, sortorder=order, names=names, copy=False)


def _raise_index(reader: Reader, items: list[Any]) -> Any:
    text, name, freq, array = items
    kind = _PLAIN[exactly(text, str)]
    may_name(reader, name)
    array = is_column(array)
    if kind is pd.Index:
        index = pd.Index(array, dtype=array.dtype, copy=False, tupleize_cols=False)
    elif freq is not None:
        index = kind(array, freq=raise_offset(freq))
    else:
        index = kind(array)
    if type(index) is not kind:
        raise ValueError(f"what is in it does not make a {text}")
    index.name = name
    return index


RAISE: dict[str, RaiseNode] = {
    "pandas.Index": _raise_index,
    "pandas.RangeIndex": _raise_range,
    "pandas.MultiIndex": _raise_multi,
}
