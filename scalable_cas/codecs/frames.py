"""Frames and series of pandas, down and up again. Indexes are in indexes.py, what lies in columns is in
frame_arrays.py, single values are in frame_values.py.

A frame is its columns in their order, each with a buffer of its own: pandas may keep them in one block or in
ten, as views of another frame, and two frames that differ in one column share the others in the store.

On the way up large columns stay the memory that they were read into, as blocks of one column each; to join
them would cost a second copy of the frame. Small ones are joined, as pandas itself would, and so are many
(`_MOST_BLOCKS`).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from scalable_cas.codecs import frame_arrays, frame_values, indexes
from scalable_cas.codecs.arrays import exactly
from scalable_cas.codecs.encoded import OUT_OF_BAND
from scalable_cas.codecs.frame_arrays import is_column, lower_column
from scalable_cas.codecs.indexes import added, is_index, lower_index, may_name
from scalable_cas.codecs.lowering import mapping
from scalable_cas.codecs.tags import NotPlain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from scalable_cas.codecs.lifting import Reader
    from scalable_cas.codecs.lowering import Lowering
    from scalable_cas.codecs.tags import Lower, RaiseNode

#: Columns from which on a frame is joined into blocks, at the cost of a copy: with more than 100 blocks
#: pandas warns its user that the frame is fragmented as soon as a column is added.
_MOST_BLOCKS = 90
#: Attributes that pandas itself keeps in the instance.
_OWN = frozenset(("_mgr", "_item_cache", "_attrs", "_flags", "_name", "_cacher", "_is_copy"))


def lowering() -> dict[type, Lower]:
    """The way down by exact type."""
    return {
        pd.DataFrame: _lower_frame,
        pd.Series: _lower_series,
        **indexes.lowering(),
        **frame_arrays.lowering(),
        **frame_values.lowering(),
    }


def _lower_frame(state: Lowering, frame: Any) -> Any:
    state.once(frame)
    columns = [lower_column(state, array) for array in _arrays(frame)]
    return state.library(
        "pandas.DataFrame",
        lower_index(state, frame.columns),
        lower_index(state, frame.index),
        *_lower_state(state, frame),
        columns,
    )


def _arrays(frame: Any) -> Iterable[Any]:
    """The arrays of the columns, as views. ``frame.iloc[:, i]`` makes a Series of each, which takes 30 times
    as long.
    """
    arrays = getattr(type(frame), "_iter_column_arrays", None)
    if arrays is not None:
        return arrays(frame)  # type: ignore[no-any-return]
    return (frame.iloc[:, place].array for place in range(frame.shape[1]))


def _lower_state(state: Lowering, value: Any) -> tuple[Any, bool]:
    """attrs, or nil if there are none, and whether labels may repeat."""
    if added(value) or not _OWN.issuperset(name for name in vars(value) if name.startswith("_")):
        raise NotPlain("a frame or series that was given attributes")
    attrs = value.attrs
    return mapping(state, dict(attrs)) if attrs else None, value.flags.allows_duplicate_labels


def _lower_series(state: Lowering, series: Any) -> Any:
    state.once(series)
    return state.library(
        "pandas.Series",
        *state.each((series.name,)),
        lower_index(state, series.index),
        *_lower_state(state, series),
        lower_column(state, series.array),
    )


def _raise_frame(_reader: Reader, items: list[Any]) -> Any:
    columns, index, attrs, repeats, arrays = items
    exactly(arrays, list)
    length = len(is_index(index))
    if len(is_index(columns)) != len(arrays):
        raise ValueError("not a name for each column")
    large = False
    given: dict[int, Any] = {}
    for place, part in enumerate(arrays):
        given[place] = array = is_column(part, length)
        if type(array) is np.ndarray:
            large = large or array.nbytes >= OUT_OF_BAND
            if array.dtype == object:  # else pandas 3 looks into it and makes a column of texts
                given[place] = pd.Series(array, index=index, dtype=object, copy=False)
    frame = pd.DataFrame(given, index=index, copy=not large or len(arrays) > _MOST_BLOCKS)
    frame.columns = columns
    return _with_state(frame, attrs, repeats)


def _with_state(value: Any, attrs: Any, repeats: Any) -> Any:
    if exactly(attrs, dict, type(None)):
        value.attrs = attrs
    if not exactly(repeats, bool):
        value.flags.allows_duplicate_labels = False
    return value


def _raise_series(reader: Reader, items: list[Any]) -> Any:
    name, index, attrs, repeats, array = items
    may_name(reader, name)
    array = is_column(array, len(is_index(index)))
    series = pd.Series(array, index=index, dtype=array.dtype, copy=False)
    series.name = name
    return _with_state(series, attrs, repeats)


RAISE: dict[str, RaiseNode] = {
    "pandas.DataFrame": _raise_frame,
    "pandas.Series": _raise_series,
    **indexes.RAISE,
    **frame_arrays.RAISE,
    **frame_values.RAISE,
}
