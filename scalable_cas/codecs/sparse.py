"""Sparse matrices and arrays of scipy, down and up again: the arrays that each format consists of, as they
are. Duplicates, stored zeros and the order of entries come back too.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from scalable_cas.codecs.arrays import column, exactly, lower_array
from scalable_cas.codecs.tags import NotPlain
from scalable_cas.codecs.texts import lower_lengths, raise_lengths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from scalable_cas.codecs.lifting import Reader
    from scalable_cas.codecs.lowering import Lowering
    from scalable_cas.codecs.tags import Lower, RaiseNode

_FORMATS = ("csr", "csc", "bsr", "coo", "dia", "lil", "dok")
_KINDS: dict[str, Any] = {
    f"{name}_{suffix}": getattr(sparse, f"{name}_{suffix}")
    for name in _FORMATS
    for suffix in ("matrix", "array")
}
#: Attributes that scipy itself puts into instances.
_OWN = frozenset(
    {
        *(
            "_shape",
            "maxprint",
            "data",
            "indices",
            "indptr",
            "offsets",
            "coords",
            "row",
            "col",
            "rows",
            "_dict",
        ),
        *("_has_sorted_indices", "_has_canonical_format", "has_canonical_format", "dtype", "_rows"),
    }
)


def lowering() -> dict[type, Lower]:
    """The way down by exact type."""
    return dict.fromkeys(_KINDS.values(), _lower)


def _lower(state: Lowering, value: Any) -> Any:
    state.once(value)
    if not _OWN.issuperset(vars(value)) or value.dtype.hasobject:
        raise NotPlain("a sparse array of objects, or one that was given attributes")
    shape = [int(length) for length in value.shape]
    name = f"{value.format}_{'array' if isinstance(value, sparse.sparray) else 'matrix'}"
    return state.library("scipy.sparse", name, shape, *_DOWN[value.format](state, value))


def _lower_compressed(state: Lowering, value: Any) -> list[Any]:
    return [lower_array(state, line) for line in (value.data, value.indices, value.indptr)]


def _lower_coordinates(state: Lowering, value: Any) -> list[Any]:
    return [lower_array(state, value.data), [lower_array(state, np.asarray(line)) for line in _coords(value)]]


def _coords(value: Any) -> tuple[Any, ...]:
    return getattr(value, "coords", None) or (value.row, value.col)


def _lower_diagonals(state: Lowering, value: Any) -> list[Any]:
    return [lower_array(state, value.data), lower_array(state, value.offsets)]


def _lower_lists(state: Lowering, value: Any) -> list[Any]:
    """Rows of lists: how long each is, the places of all, and the values of all."""
    lengths = np.fromiter(map(len, value.rows), np.int64, len(value.rows))
    if list(map(len, value.data)) != lengths.tolist():
        raise NotPlain("a row with more values than places")
    places = np.array([place for row in value.rows for place in row], "<i8")
    values = np.array([item for row in value.data for item in row], value.dtype)
    return [lower_lengths(state, lengths), lower_array(state, places), lower_array(state, values)]


def _lower_keys(state: Lowering, value: Any) -> list[Any]:
    """The entries in the order of the dict."""
    entries = dict(value.items())
    keys = [key if type(key) is tuple else (key,) for key in entries]
    places = np.array(keys, "<i8").reshape(len(keys), len(value.shape))
    return [lower_array(state, places), lower_array(state, np.array(list(entries.values()), value.dtype))]


# --- up -----------------------------------------------------------------------------------------------------


def _raise(reader: Reader, items: list[Any]) -> Any:
    name, shape, *parts = items
    kind = _KINDS[exactly(name, str)]
    if (
        type(shape) is not list
        or not {int}.issuperset(map(type, shape))
        or any(length < 0 for length in shape)
    ):
        raise TypeError("not a shape")
    return _UP[name[:3]](reader, kind, tuple(shape), parts)


def _raise_compressed(_reader: Reader, kind: Any, shape: tuple[int, ...], parts: list[Any]) -> Any:
    data, indices, indptr = parts
    for line in (column(indices), column(indptr)):
        _whole_numbers(line)
    value = kind((exactly(data, np.ndarray), indices, indptr), shape=shape, copy=False)
    value.indices, value.indptr = indices, indptr  # as wide as they were: scipy may have narrowed them
    # In full, as scipy itself does not: its code in C follows these numbers wherever they lead.
    value.check_format(full_check=True)
    if value.dtype != data.dtype:
        raise ValueError("values of a type that scipy changes")
    return value


def _whole_numbers(line: Any) -> None:
    if line.dtype.str not in ("<i4", "<i8"):
        raise ValueError("places are whole numbers")


def _raise_coordinates(_reader: Reader, kind: Any, shape: tuple[int, ...], parts: list[Any]) -> Any:
    data, lines = parts
    if len(exactly(lines, list)) != len(shape):
        raise ValueError("not a line of places for each axis")
    for line, length in zip(lines, shape, strict=True):
        _whole_numbers(column(line, None, len(column(data))))
        if len(line) and not 0 <= int(line.min()) <= int(line.max()) < length:
            raise ValueError("a place outside")
    value = kind((data, tuple(lines)), shape=shape, copy=False)
    if hasattr(value, "coords"):
        value.coords = tuple(lines)
    return value


def _raise_diagonals(_reader: Reader, kind: Any, shape: tuple[int, ...], parts: list[Any]) -> Any:
    data, offsets = parts
    _whole_numbers(column(offsets))
    if exactly(data, np.ndarray).ndim != 2:
        raise ValueError("diagonals are lines of a table")
    value = kind((data, offsets), shape=shape, copy=False)  # it checks that there are as many, and once each
    value.offsets = offsets
    return value


def _raise_lists(reader: Reader, kind: Any, shape: tuple[int, ...], parts: list[Any]) -> Any:
    counts, places, values = parts
    if len(shape) != 2 or (column(places, "<i8", len(column(values))).size and int(places.max()) >= shape[1]):
        raise ValueError("a place outside")
    ends = np.cumsum(raise_lengths(reader, counts, shape[0])).tolist()
    if (ends[-1] if ends else 0) != len(values) or (len(places) and int(places.min()) < 0):
        raise ValueError("rows of another length")
    value = kind(shape, dtype=values.dtype)
    all_places, all_values, start = places.tolist(), values.tolist(), 0
    for row, end in enumerate(ends):
        value.rows[row], value.data[row] = all_places[start:end], all_values[start:end]
        start = end
    return value


def _raise_keys(_reader: Reader, kind: Any, shape: tuple[int, ...], parts: list[Any]) -> Any:
    places, values = parts
    if exactly(places, np.ndarray).dtype.str != "<i8" or places.shape != (len(column(values)), len(shape)):
        raise ValueError("not a place for each value")
    if len(places) and ((places < 0).any() or (places >= np.array(shape)).any()):
        raise ValueError("a place outside")
    value = kind(shape, dtype=values.dtype)
    keys = map(tuple, places.tolist()) if len(shape) > 1 else places[:, 0].tolist()
    value._dict.update(zip(keys, list(values), strict=True))  # noqa: SLF001 (item by item takes 10 µs each)
    return value


_DOWN: dict[str, Callable[[Lowering, Any], list[Any]]] = {
    **dict.fromkeys(("csr", "csc", "bsr"), _lower_compressed),
    "coo": _lower_coordinates,
    "dia": _lower_diagonals,
    "lil": _lower_lists,
    "dok": _lower_keys,
}
_UP: dict[str, Callable[[Reader, Any, tuple[int, ...], list[Any]], Any]] = {
    **dict.fromkeys(("csr", "csc", "bsr"), _raise_compressed),
    "coo": _raise_coordinates,
    "dia": _raise_diagonals,
    "lil": _raise_lists,
    "dok": _raise_keys,
}

RAISE: dict[str, RaiseNode] = {"scipy.sparse": _raise}
