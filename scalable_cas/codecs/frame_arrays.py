"""The arrays that lie in columns and indexes of pandas, down and up again.

Texts are stored alike whether they lie in Arrow's memory or are Python's own, so what was written with
pyarrow is read without it, and the other way round.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from scalable_cas.codecs.arrays import column, exactly, lower_array, memory_of
from scalable_cas.codecs.frame_values import UNITS, lower_offset, lower_zone, raise_offset, raise_zone
from scalable_cas.codecs.tags import NotPlain
from scalable_cas.codecs.texts import lower_texts, parts_of, raise_lengths, raise_texts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.codecs.lifting import Reader
    from scalable_cas.codecs.lowering import Lowering
    from scalable_cas.codecs.tags import Lower, RaiseNode

_ARRAYS = pd.arrays
_NUMPY: Any = type(pd.Series([1.0]).array)  # NumpyExtensionArray; PandasArray before pandas 2.1
_MASKED = {
    dtype.name: (dtype, kind)
    for kind, names in (
        (_ARRAYS.IntegerArray, [f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)]),
        (_ARRAYS.FloatingArray, ["Float32", "Float64"]),
        (_ARRAYS.BooleanArray, ["boolean"]),
    )
    for dtype in (getattr(pd, f"{name[0].upper()}{name[1:]}Dtype")() for name in names)
}


def lowering() -> dict[type, Lower]:
    """The way down by exact type, of arrays that are values themselves."""
    return dict.fromkeys([*_parts(), _NUMPY], _lower_once)


def _lower_once(state: Lowering, array: Any) -> Any:
    state.once(array)
    if type(array) is _NUMPY:
        return state.library("pandas.NumpyExtensionArray", lower_array(state, array.to_numpy()))
    if type(array) in (_ARRAYS.DatetimeArray, _ARRAYS.TimedeltaArray):
        return _lower_times(state, array, getattr(array, "freq", None))  # until pandas 3
    return lower_column(state, array)


_known: dict[type, Lower] = {}


def _parts() -> dict[type, Lower]:
    if not _known:
        _known.update(
            {
                pd.Categorical: _lower_categorical,
                _ARRAYS.DatetimeArray: _lower_times,
                _ARRAYS.TimedeltaArray: _lower_times,
                _ARRAYS.PeriodArray: lambda state, value: state.library(
                    "pandas.PeriodArray", lower_offset(value.dtype.freq), lower_array(state, value.asi8)
                ),
                _ARRAYS.IntervalArray: lambda state, value: state.library(
                    "pandas.IntervalArray",
                    value.closed,
                    lower_column(state, value.left.array),
                    lower_column(state, value.right.array),
                ),
                _ARRAYS.SparseArray: _lower_sparse,
                **dict.fromkeys((kind for _, kind in _MASKED.values()), _lower_masked),
                **dict.fromkeys(_text_classes(), _lower_texts),
            }
        )
        arrow = getattr(_ARRAYS, "ArrowExtensionArray", None)
        if arrow is not None:
            _known[arrow] = _lower_arrow
    return _known


def _text_classes() -> list[type]:
    """The arrays of texts; those whose missing value is NaN have no public names."""
    from importlib import import_module

    found = [import_module("pandas.core.arrays.string_"), import_module("pandas.core.arrays.string_arrow")]
    names = ("StringArray", "StringArrayNumpySemantics", "ArrowStringArrayNumpySemantics", "ArrowStringArray")
    return [vars(module)[name] for module in found for name in names if name in vars(module)]


def lower_column(state: Lowering, array: Any) -> Any:
    """Return what stands for the array of a column or an index, without noting it.

    Raises:
        NotPlain: it is of another library.
    """
    kind = type(array)
    if kind is np.ndarray:
        return lower_array(state, array)
    if kind is _NUMPY:
        return lower_array(state, array.to_numpy())
    function = _parts().get(kind)
    if function is None:
        raise NotPlain(f"a column of class {kind.__qualname__}")
    return function(state, array)


def is_column(value: Any, length: int | None = None) -> Any:
    """Return a part if it is the array of a column, of this length if given.

    Raises:
        TypeError, ValueError: it is not.
    """
    exactly(value, np.ndarray, *_parts())
    if value.ndim != 1 or (length is not None and len(value) != length):
        raise ValueError("a column of another length")
    return value


# --- times, categories, periods, intervals, sparse, masked --------------------------------------------------


def _lower_times(state: Lowering, value: Any, freq: Any = None) -> Any:
    dtype = value.dtype
    kind = "M" if isinstance(value, _ARRAYS.DatetimeArray) else "m"
    return state.library(
        "pandas.times",
        kind,
        value.unit,
        lower_zone(state, getattr(dtype, "tz", None)),
        lower_offset(freq),
        lower_array(state, value.asi8),
    )


def _raise_times(_reader: Reader, items: list[Any]) -> Any:
    kind, unit, zone, freq, numbers = items
    if exactly(kind, str) not in ("M", "m") or exactly(unit, str) not in UNITS:
        raise ValueError("times in units that pandas does not have")
    array = pd.array(column(numbers, "<i8").view(f"{kind}8[{unit}]"), copy=False)
    zone = raise_zone(zone)
    if zone is not None:
        array = array.tz_localize("UTC").tz_convert(zone)
    if freq is not None:
        index = (pd.DatetimeIndex if kind == "M" else pd.TimedeltaIndex)(array, freq=raise_offset(freq))
        array = index.array
    return array


def _lower_categorical(state: Lowering, value: Any) -> Any:
    from scalable_cas.codecs.indexes import lower_index

    return state.library(
        "pandas.Categorical",
        lower_index(state, value.categories),
        bool(value.ordered),
        lower_array(state, np.asarray(value.codes)),
    )


def _raise_categorical(_reader: Reader, items: list[Any]) -> Any:
    from scalable_cas.codecs.indexes import is_index

    categories, ordered, codes = items
    if column(codes).dtype.kind != "i":
        raise ValueError("codes are whole numbers")
    return pd.Categorical.from_codes(codes, is_index(categories), ordered=exactly(ordered, bool))


def _raise_period(_reader: Reader, items: list[Any]) -> Any:
    freq, numbers = items
    return _ARRAYS.PeriodArray(column(numbers, "<i8"), dtype=pd.PeriodDtype(raise_offset(freq)))


def _raise_interval(_reader: Reader, items: list[Any]) -> Any:
    closed, left, right = items
    left = is_column(left)
    return _ARRAYS.IntervalArray.from_arrays(left, is_column(right, len(left)), exactly(closed, str))


def _lower_sparse(state: Lowering, value: Any) -> Any:
    return state.library(
        "pandas.SparseArray",
        len(value),
        *state.each((value.dtype.fill_value,)),
        value.kind,
        lower_array(state, np.asarray(value.sp_index.indices)),
        lower_array(state, np.asarray(value.sp_values)),
    )


def _raise_sparse(_reader: Reader, items: list[Any]) -> Any:
    length, fill, kind, places, values = items
    if exactly(length, int) < 0 or exactly(kind, str) not in ("integer", "block"):
        raise ValueError("not a sparse array")
    if not isinstance(fill, np.generic):
        exactly(fill, bool, int, float, complex, str, type(None), type(pd.NaT))
    column(places, "<i4", len(column(values)))
    make = getattr(_ARRAYS.SparseArray, "from_indices", None)
    if make is not None and fill is not None:  # since pandas 3.1; None means something else to it
        return make(values, places, length, fill, kind)
    from pandas.core.arrays.sparse.array import make_sparse_index

    index = make_sparse_index(length, places, kind)
    return _ARRAYS.SparseArray(values, sparse_index=index, dtype=pd.SparseDtype(values.dtype, fill))


def _lower_masked(state: Lowering, value: Any) -> Any:
    data, mask = value._data, value._mask  # noqa: SLF001 (to_numpy and isna would copy both)
    return state.library(
        "pandas.masked", value.dtype.name, lower_array(state, data), lower_array(state, mask)
    )


def _raise_masked(_reader: Reader, items: list[Any]) -> Any:
    name, data, mask = items
    dtype, kind = _MASKED[exactly(name, str)]
    if column(data).dtype != dtype.numpy_dtype:
        raise ValueError("values of another type")
    return kind(data, column(mask, "|b1", len(data)))


# --- texts --------------------------------------------------------------------------------------------------


def _lower_texts(state: Lowering, value: Any) -> Any:
    dtype = value.dtype
    missing = "nan" if type(dtype.na_value) is float else "na"
    storage = "pyarrow" if dtype.storage == "pyarrow_numpy" else dtype.storage
    chunked = getattr(value, "_pa_array", None)
    if chunked is not None:
        from scalable_cas.codecs.arrow import lower_arrow_texts

        return state.library(
            "pandas.strings", missing, storage, len(value), *lower_arrow_texts(state, chunked)
        )
    items = value.to_numpy(dtype=object, copy=False).tolist()
    gone = np.fromiter((type(item) is not str for item in items), bool, len(items))
    if gone.any():
        if bool((gone != np.asarray(value.isna())).any()):
            raise NotPlain("texts of a class of their own")
        items = ["" if missing else item for item, missing in zip(items, gone.tolist(), strict=True)]
    return state.library(
        "pandas.strings",
        missing,
        storage,
        len(items),
        state.memory(memory_of(gone)) if gone.any() else None,
        lower_texts(state, items),
    )


def _raise_texts(reader: Reader, items: list[Any]) -> Any:
    missing, storage, count, mask, texts = items
    if exactly(missing, str) not in ("nan", "na") or exactly(storage, str) not in ("python", "pyarrow"):
        raise ValueError("texts of a kind that is not known")
    if exactly(count, int) < 0:
        raise ValueError("less than no texts")
    lengths, content = parts_of(texts, 2)
    gone = None if mask is None else np.frombuffer(reader.memory(mask, count), np.bool_)
    if storage == "pyarrow":
        try:
            import pyarrow as pa  # noqa: F401
        except ImportError:
            storage = "python"  # the same texts; only where they lie differs
    dtype = _string_dtype(storage, missing)
    if storage == "pyarrow":
        from scalable_cas.codecs.arrow import raise_arrow_texts

        counts = raise_lengths(reader, lengths, count)
        return dtype.__from_arrow__(raise_arrow_texts(counts, reader.memory(content), gone))
    found = np.fromiter(raise_texts(reader, [lengths, content], count), object, count)
    if gone is not None:
        found[gone] = dtype.na_value
    return pd.array(found, dtype=dtype)


def _string_dtype(storage: str, missing: str) -> Any:
    if missing == "na":
        return pd.StringDtype(storage)
    try:
        return pd.StringDtype(storage, na_value=np.nan)
    except TypeError:  # pandas 2.2
        if storage == "python":
            raise ValueError("this pandas has no texts of Python's own whose missing value is NaN") from None
        return pd.StringDtype("pyarrow_numpy")


def _lower_arrow(state: Lowering, value: Any) -> Any:
    from scalable_cas.codecs.arrow import lower_chunked

    return state.library("pandas.ArrowExtensionArray", lower_chunked(state, value._pa_array))  # noqa: SLF001 (as above)


def _raise_arrow(reader: Reader, items: list[Any]) -> Any:
    from scalable_cas.codecs.arrow import raise_chunked

    (stream,) = items
    return _ARRAYS.ArrowExtensionArray(raise_chunked(reader, stream))


RAISE: dict[str, RaiseNode] = {
    "pandas.times": _raise_times,
    "pandas.Categorical": _raise_categorical,
    "pandas.PeriodArray": _raise_period,
    "pandas.IntervalArray": _raise_interval,
    "pandas.SparseArray": _raise_sparse,
    "pandas.masked": _raise_masked,
    "pandas.strings": _raise_texts,
    "pandas.ArrowExtensionArray": _raise_arrow,
    "pandas.NumpyExtensionArray": lambda _reader, items: _NUMPY(column(*items)),
}
