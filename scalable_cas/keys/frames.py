"""pandas: frames, series and indexes. What lies in their columns is in frame_arrays.py, single values and
dtypes are in frame_values.py.

A frame is its columns in their order: pandas may keep them in one block or in ten, in C or in Fortran order,
as views of another frame, and nothing of that is to be seen in a result. So columns are taken one by one,
as the arrays that they are, without copying.
"""

from __future__ import annotations

from .frame_arrays import array_handlers, part_of
from .frame_values import value_handlers
from .nodes import Labelled, Viewed, added_to, column_label, typed_node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .nodes import Node, Walk
    from .registry import Handlers


def pandas_handlers() -> Handlers:
    """Everything of pandas that is a value. Groups, readers, styles and subclasses are refused."""
    import pandas as pd

    leaves, nodes = value_handlers(pd)
    nodes.update(array_handlers(pd))
    nodes[pd.DataFrame] = _of_frame
    nodes[pd.Series] = _of_series
    nodes[pd.RangeIndex] = _of_range
    nodes[pd.MultiIndex] = _of_multi
    for kind in (pd.Index, pd.CategoricalIndex, pd.IntervalIndex, pd.PeriodIndex):
        nodes[kind] = plain_index
    nodes[pd.DatetimeIndex] = nodes[pd.TimedeltaIndex] = _of_times
    return leaves, nodes


def _of_frame(frame: Any, walk: Walk) -> Node:
    from .columns import hash_rows

    columns = frame.columns
    parts = Labelled((columns, frame.index, *_state(frame), *map(part_of, _arrays(frame))))
    hash_rows(parts[4:], walk)
    end = len(parts)
    parts += added_to(frame)
    parts.label = lambda place: (
        column_label(*columns[place - 4 : place - 3].tolist())  # as Python's own number or text
        if 3 < place < end
        else {0: " columns", 1: " index", 2: ".attrs", 3: ".flags"}.get(place, "")
    )
    return typed_node("pandas.DataFrame", parts)


def _arrays(frame: Any) -> Iterable[Any]:
    """The arrays of the columns, as views. ``frame.iloc[:, i]`` makes a Series of each, which takes 30 times
    as long.
    """
    arrays = getattr(type(frame), "_iter_column_arrays", None)
    if arrays is not None:
        return arrays(frame)  # type: ignore[no-any-return]
    return (frame.iloc[:, place].array for place in range(frame.shape[1]))


def _state(value: Any) -> tuple[Any, bool]:
    """attrs, or None if there are none, and whether labels may repeat."""
    return value.attrs or None, value.flags.allows_duplicate_labels


def _of_series(series: Any, _: Walk) -> Node:
    attrs, repeats = _state(series)
    parts = Labelled((series.name, series.index, attrs, repeats, part_of(series.array), *added_to(series)))
    parts.label = lambda place: (".name", " index", ".attrs", ".flags", "", "")[place]
    return typed_node("pandas.Series", parts)


def plain_index(index: Any, _: Walk) -> Node:
    """Name and values of an index of any kind but the two below."""
    return _index_node(index, None)


def _of_times(index: Any, _: Walk) -> Node:
    return _index_node(index, index.freq)


def _index_node(index: Any, freq: Any) -> Node:
    parts = Labelled((index.name, freq, part_of(index.array), *added_to(index)))
    parts.label = lambda place: (".name", ".freq", "", "")[place]
    return typed_node("pandas.Index", parts)


def _of_range(index: Any, _: Walk) -> Node:
    # not its stop: range(0, 5, 2) and range(0, 6, 2) are one
    parts = (index.name, index.start, len(index), index.step, *added_to(index))
    return typed_node("pandas.RangeIndex", parts)


def _of_multi(index: Any, _: Walk) -> Node:
    """Per level its used values and their codes.

    Levels remember values that no row has any more; those do not show, so they do not count. The order of the
    used ones does: ``unstack`` keeps it.
    """
    import numpy as np

    parts: list[Any] = [len(index), [*index.names]]
    for level, codes in zip(index.levels, index.codes, strict=True):
        used = np.flatnonzero(np.bincount(codes + 1, minlength=len(level) + 1)[1:])
        places = np.full(len(level) + 1, -1, dtype="<i8")
        places[used] = np.arange(len(used))
        parts += [Viewed(level.take(used).rename(None), plain_index), places[codes]]
    return typed_node("pandas.MultiIndex", [*parts, *added_to(index, "sortorder")])
