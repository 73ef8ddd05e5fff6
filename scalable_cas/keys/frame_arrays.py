"""pandas: the arrays that lie in columns and indexes, by dtype and logical content.

Values under missing ones do not count, nor does it whether texts lie in Arrow's memory or are Python's own.
"""

from __future__ import annotations

from .arrow_data import data_of, texts_of
from .frame_values import dtype_name, fill_of, zone_of
from .nodes import Raw, Viewed, typed_node
from .streams import encode_texts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .nodes import Decompose, Node, Walk


def array_handlers(pd: Any) -> dict[type, Decompose]:
    """The node functions of pandas' own arrays."""
    arrays = pd.arrays
    nodes: dict[type, Decompose] = {
        pd.Categorical: _of_categorical,
        # from pandas 3.1 on only an index has a freq
        arrays.DatetimeArray: lambda value, _: _times(value, getattr(value, "freq", None)),
        arrays.TimedeltaArray: lambda value, _: _times(value, getattr(value, "freq", None)),
        arrays.PeriodArray: lambda value, _: typed_node("pandas.PeriodArray", (value.dtype.freq, value.asi8)),
        arrays.IntervalArray: lambda value, _: typed_node(
            "pandas.IntervalArray", (value.closed, part_of(value.left.array), part_of(value.right.array))
        ),
        arrays.SparseArray: _of_sparse,
        _plain_array(pd): lambda value, _: typed_node("pandas.Array", (value.to_numpy(),)),
    }
    for kind in (arrays.IntegerArray, arrays.FloatingArray, arrays.BooleanArray):
        nodes[kind] = _of_masked
    for name in ("StringArray", "ArrowStringArray", "ArrowExtensionArray"):
        kind = getattr(arrays, name, None)
        if kind is not None:
            nodes[kind] = _of_arrow if name == "ArrowExtensionArray" else _of_texts
    for kind in _texts_with_nan():
        nodes[kind] = _of_texts
    return nodes


def _plain_array(pd: Any) -> type:
    """NumpyExtensionArray, which wraps an ndarray (called PandasArray before pandas 2.1)."""
    return type(pd.Series([1.0]).array)


def _texts_with_nan() -> list[type]:
    """The arrays of texts whose missing value is NaN; they have no public names."""
    from importlib import import_module

    found = [import_module("pandas.core.arrays.string_"), import_module("pandas.core.arrays.string_arrow")]
    names = ("StringArrayNumpySemantics", "ArrowStringArrayNumpySemantics", "ArrowStringArray")
    return [vars(module)[name] for module in found for name in names if name in vars(module)]


def part_of(array: Any) -> Any:
    """The array of a column or index as a part of its node.

    A numpy array stands for itself, with or without pandas' wrapper. Times in a column have no frequency.
    """
    kind = type(array).__name__
    if kind == "ndarray":
        return array
    if not type(array).__module__.startswith("pandas."):
        return array
    if kind in ("NumpyExtensionArray", "PandasArray"):
        return array.to_numpy()
    return Viewed(array, _plain_times) if kind in ("DatetimeArray", "TimedeltaArray") else array


def _plain_times(value: Any, _: Walk) -> Node:
    return _times(value, None)


def _times(value: Any, freq: Any) -> Node:
    dtype = value.dtype
    zone = zone_of(dtype.tz) if hasattr(dtype, "tz") else None
    kind = "pandas.TimedeltaArray" if getattr(dtype, "kind", "") == "m" else "pandas.DatetimeArray"
    return typed_node(kind, (value.unit, zone, freq, value.asi8))


def _of_categorical(value: Any, _: Walk) -> Node:
    return typed_node("pandas.Categorical", (value.dtype, value.codes))


def _of_sparse(value: Any, _: Walk) -> Node:
    places = value.sp_index.indices
    return typed_node(
        "pandas.SparseArray", (len(value), fill_of(value.dtype), places.astype("<i8"), value.sp_values)
    )


# --- masked arrays -----------------------------------------------------------------------------------------


def _of_masked(value: Any, walk: Walk) -> Node:
    from .arrays import encoded_bytes

    data, mask = value._data, value._mask  # noqa: SLF001 (to_numpy and isna would copy both)
    missing = bool(mask.any())
    content = encoded_bytes(data, mask if missing else None, walk=walk)
    gaps = Raw(encoded_bytes(mask, walk=walk)) if missing else None
    return typed_node("pandas.MaskedArray", (dtype_name(value.dtype), len(value), gaps, Raw(content)))


# --- texts and Arrow ---------------------------------------------------------------------------------------


def _of_arrow(value: Any, _: Walk) -> Node:
    chunked = value._pa_array  # noqa: SLF001 (__arrow_array__ may combine chunks)
    return typed_node("pandas.ArrowExtensionArray", (chunked.type, data_of(chunked.type, chunked.chunks)))


def _of_texts(value: Any, _: Walk) -> Node:
    chunked = getattr(value, "_pa_array", None)
    if chunked is not None:
        gaps, lengths, data = texts_of(chunked.chunks)
    else:
        objects = value.to_numpy(dtype=object, copy=False)
        gaps, lengths, data = encode_texts(
            len(objects), lambda start, stop: objects[start:stop].tolist(), _is_missing
        )
    parts = (
        dtype_name(value.dtype),
        len(value),
        None if gaps is None else Raw(gaps),
        Raw(lengths),
        Raw(data),
    )
    return typed_node("pandas.StringArray", parts)


def _is_missing(item: object) -> bool:
    kind = type(item)
    return item is None or kind.__name__ == "NAType" or (kind is float and item != item)  # noqa: PLR0124 (NaN)
