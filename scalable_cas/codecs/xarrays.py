"""Variables, arrays and datasets of xarray, down and up again: names, dimensions, values, coordinates and
their indexes, attrs, encoding.

What is still in a file or a graph of tasks is left to the general codec: to read it may take hours.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from xarray.core import indexing
from xarray.indexes import PandasIndex, PandasMultiIndex

from scalable_cas.codecs.arrays import exactly, lower_array
from scalable_cas.codecs.lowering import mapping
from scalable_cas.codecs.tags import NotPlain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.codecs.lifting import Reader
    from scalable_cas.codecs.lowering import Lowering
    from scalable_cas.codecs.tags import Lower, RaiseNode

_PLAIN, _MULTI = PandasIndex, PandasMultiIndex


def lowering() -> dict[type, Lower]:
    """The way down by exact type."""
    return {xr.Dataset: _lower_dataset, xr.DataArray: _lower_array, xr.Variable: _lower_once}


# --- down ---------------------------------------------------------------------------------------------------


def _lower_once(state: Lowering, value: Any) -> Any:
    state.once(value)
    return state.library("xarray.Variable", *_lower_variable(state, value))


def _lower_variable(state: Lowering, variable: Any) -> list[Any]:
    """Dimensions, values, attrs, encoding."""
    held = variable._data  # noqa: SLF001 (`.data` and `.values` read what is lazy)
    if isinstance(held, indexing.PandasIndexingAdapter):
        held = variable.values  # it was an index once, and its values are in memory
    if type(held) is not np.ndarray:
        raise NotPlain("a variable whose values are no array in memory")
    return [state.each(list(variable.dims)), lower_array(state, held), *_lower_notes(state, variable)]


def _lower_notes(state: Lowering, value: Any) -> list[Any]:
    attrs, encoding = value.attrs, value.encoding
    return [
        mapping(state, dict(attrs)) if attrs else None,
        mapping(state, dict(encoding)) if encoding else None,
    ]


def _lower_named(state: Lowering, variables: Any) -> list[Any]:
    return [[*state.each((name,)), *_lower_variable(state, item)] for name, item in variables]


def _lower_coordinates(state: Lowering, value: Any) -> list[Any]:
    """Order of all, those without an index, and the indexes with the notes of the variables they make."""
    indexed = value.xindexes
    names = list(value.coords)
    free = [(name, value.coords[name].variable) for name in names if name not in indexed]
    return [state.each(names), _lower_named(state, free), _lower_indexes(state, value)]


def _lower_indexes(state: Lowering, value: Any) -> list[Any]:
    from scalable_cas.codecs.indexes import lower_index

    found = []
    for index, variables in value.xindexes.group_by_index():
        if type(index) not in (_PLAIN, _MULTI):
            raise NotPlain(f"an index of class {type(index).__qualname__}")
        kinds = index.level_coords_dtype if type(index) is _MULTI else {index.index.name: index.coord_dtype}
        made = index.create_variables()
        if list(made) != list(variables) or any(
            made[name].dims != item.dims or made[name].dtype != item.dtype for name, item in variables.items()
        ):
            raise NotPlain("coordinates that their index does not give")
        notes = [[*state.each((name,)), *_lower_notes(state, item)] for name, item in variables.items()]
        types = [[*state.each((name,)), _lower_type(state, kind)] for name, kind in kinds.items()]
        found.append([*state.each((index.dim,)), lower_index(state, index.index), types, notes])
    return found


def _lower_type(state: Lowering, dtype: Any) -> Any:
    if not isinstance(dtype, np.dtype):
        raise NotPlain("a coordinate of a type that is not numpy's")
    return "|O" if dtype.kind == "O" else state.lower(dtype)


def _lower_array(state: Lowering, value: Any) -> Any:
    state.once(value)
    return state.library(
        "xarray.DataArray",
        *state.each((value.name,)),
        # The values of an index: the coordinate of this name has them.
        None if type(value.variable) is xr.IndexVariable else _lower_variable(state, value.variable),
        *_lower_coordinates(state, value),
    )


def _lower_dataset(state: Lowering, value: Any) -> Any:
    state.once(value)
    return state.library(
        "xarray.Dataset",
        _lower_named(state, ((name, item.variable) for name, item in value.data_vars.items())),
        *_lower_coordinates(state, value),
        *_lower_notes(state, value),
        *_lower_order(state, value),
    )


def _lower_order(state: Lowering, value: Any) -> list[Any]:
    """All names in their order, where it is not that of the data, then the coordinates. That of the
    dimensions follows from it.
    """
    names = [*value.variables]
    if [*value.sizes] != [*dict.fromkeys(dim for item in value.variables.values() for dim in item.dims)]:
        raise NotPlain("dimensions in another order than that of the variables")
    return [] if names == [*value.data_vars, *value.coords] else [state.each(names)]


# --- up -----------------------------------------------------------------------------------------------------


def _raise_variable(reader: Reader, parts: list[Any]) -> Any:
    dims, values, attrs, encoding = parts
    reader.may_hash(exactly(dims, list))
    if exactly(values, np.ndarray).ndim != len(dims):
        raise ValueError("not a name for each dimension")
    return _noted(xr.Variable(tuple(dims), values, fastpath=True), attrs, encoding)


def _noted(value: Any, attrs: Any, encoding: Any) -> Any:
    if exactly(attrs, dict, type(None)):
        value.attrs = attrs
    if exactly(encoding, dict, type(None)):
        value.encoding = encoding
    return value


def _raise_named(reader: Reader, parts: Any) -> dict[Any, Any]:
    found = {}
    for name, *rest in exactly(parts, list):
        reader.may_hash((name,))
        found[name] = _raise_variable(reader, rest)
    if len(found) != len(parts):
        raise ValueError("a name twice")
    return found


def _raise_coordinates(reader: Reader, names: Any, free: Any, indexed: Any) -> Any:
    variables, indexes = _raise_named(reader, free), {}
    for dim, index, types, notes in exactly(indexed, list):
        reader.may_hash((dim,))
        kinds = dict(_raise_type(reader, *pair) for pair in exactly(types, list))
        made = _raise_index(index, dim, kinds)
        own = made.create_variables()
        for name, attrs, encoding in exactly(notes, list):
            reader.may_hash((name,))
            variables[name] = _noted(own.pop(name), attrs, encoding)
            indexes[name] = made
        if own:
            raise ValueError("a coordinate of an index is missing")
    reader.may_hash(exactly(names, list))
    if len(names) != len(variables):
        raise ValueError("not a variable for each coordinate")
    return xr.Coordinates({name: variables[name] for name in names}, indexes)


def _raise_type(reader: Reader, name: Any, dtype: Any) -> tuple[Any, Any]:
    reader.may_hash((name,))
    if type(dtype) is str and dtype == "|O":
        return name, np.dtype(object)
    if not isinstance(dtype, np.dtype):
        raise TypeError("the type of a coordinate is missing")
    return name, dtype


def _raise_index(index: Any, dim: Any, kinds: dict[Any, Any]) -> Any:
    from pandas import MultiIndex

    from scalable_cas.codecs.indexes import is_index

    if type(is_index(index)) is MultiIndex:
        return _MULTI(index, dim, level_coords_dtype=kinds)
    ((name, kind),) = kinds.items()
    if name != index.name:
        raise ValueError("an index of another name")
    return _PLAIN(index, dim, coord_dtype=kind)


def _raise_array(reader: Reader, items: list[Any]) -> Any:
    name, variable, names, free, indexed = items
    reader.may_hash((name,))
    coordinates = _raise_coordinates(reader, names, free, indexed)
    if variable is None:
        return coordinates[name]
    found = _raise_variable(reader, exactly(variable, list))
    array = xr.DataArray(found, coords=coordinates, name=name)
    array.encoding = found.encoding
    return array


def _raise_dataset(reader: Reader, items: list[Any]) -> Any:
    named, names, free, indexed, attrs, encoding, *orders = items
    coordinates = _raise_coordinates(reader, names, free, indexed)
    dataset = xr.Dataset(_raise_named(reader, named), coords=coordinates)
    for order in orders:
        reader.may_hash(exactly(order, list))
        if len(order) != len(dataset.variables) or set(order) != set(dataset.variables):
            raise ValueError("an order of other variables")
        dataset = dataset[order]
    return _noted(dataset, attrs, encoding)


RAISE: dict[str, RaiseNode] = {
    "xarray.Variable": _raise_variable,
    "xarray.DataArray": _raise_array,
    "xarray.Dataset": _raise_dataset,
}
