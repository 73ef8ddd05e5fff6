"""Variables, arrays, datasets and trees of xarray: names, dimensions, coordinates, indexes, values, attrs.

``encoding`` (how a file stores them) does not count. Data that is still in a file or a graph of tasks is
refused, because reading it may take hours and may give something else tomorrow; in an argument declared
``UtilityType`` it is read, and the key is that of the values.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import xarray as xr
from xarray.core import indexing

from .nodes import Refused, Viewed, typed_node
from .refusals import full_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .nodes import Node, Walk
    from .registry import Handlers

_HOLDS_ALL = (xr.indexes.PandasIndex, xr.indexes.PandasMultiIndex)  # the values of their coordinates are all


def xarray_handlers() -> Handlers:
    """Variable, IndexVariable, DataArray, Dataset, DataTree."""
    nodes = {
        xr.Variable: _of_variable("xarray.Variable"),
        xr.IndexVariable: _of_variable("xarray.IndexVariable"),
        xr.DataArray: _of_array,
        xr.Dataset: _of_dataset,
    }
    tree = getattr(xr, "DataTree", None)  # since xarray 2024.10
    if tree is not None:
        nodes[tree] = _of_root
    return {}, nodes


def _of_variable(kind: str) -> Any:
    def decompose(value: Any, walk: Walk) -> Node:
        return typed_node(kind, (value.dims, _data(value, walk), dict(value.attrs)))

    return decompose


def _data(variable: Any, walk: Walk) -> object:
    """The data of a variable: an ndarray, or an array of another library that is in memory.

    Raises:
        Refused: it is not in memory.
    """
    held = variable._data  # noqa: SLF001 (`.data` and `.values` read what is lazy)
    if type(held) is np.ndarray:
        return held
    in_memory = variable._in_memory or isinstance(held, indexing.PandasIndexingAdapter)  # noqa: SLF001 (as above)
    if not (walk.computing or in_memory):
        raise Refused(
            f"its data is lazy ({full_name(type(held))}): load() it, or declare the argument UtilityType"
        )
    data = variable.data
    if hasattr(data, "__dask_graph__"):
        data = data.compute()
    return data


_variable = _of_variable("xarray.Variable")
_index_variable = _of_variable("xarray.IndexVariable")


def _view(variable: Any) -> Viewed:
    return Viewed(variable, _index_variable if isinstance(variable, xr.IndexVariable) else _variable)


def _of_array(value: Any, _: Walk) -> Node:
    coords = value.coords
    return typed_node(
        "xarray.DataArray",
        (value.name, _view(value.variable), _variables(coords), _indexes(value.xindexes)),
    )


def _of_dataset(value: Any, _: Walk) -> Node:
    parts = (_variables(value.data_vars), _variables(value.coords), _indexes(value.xindexes))
    return typed_node("xarray.Dataset", (*parts, dict(value.attrs), *_order(value)))


def _order(value: Any) -> tuple[object, ...]:
    """The order of all variables and that of the dimensions, where it is not the usual one: data, then
    coordinates, and dimensions as these first name them. ``to_dataframe`` shows it.
    """
    names, dims = [*value.variables], [*value.sizes]
    usual = [*value.data_vars, *value.coords]
    if names == usual and dims == [
        *dict.fromkeys(dim for name in usual for dim in value.variables[name].dims)
    ]:
        return ()
    return (names, dims)


def _variables(named: Any) -> OrderedDict[object, Viewed]:
    """In their order: ``to_array`` and ``to_dataframe`` show it."""
    return OrderedDict((name, _view(item.variable)) for name, item in named.items())


def _indexes(named: Any) -> list[object]:
    """Which coordinates have an index, and which share one.

    Raises:
        Refused: an index may hold more than the values of its coordinates.
    """
    groups: dict[int, tuple[type, list[object]]] = {}
    for name, index in named.items():
        if type(index) not in _HOLDS_ALL:
            raise Refused(f"an index of type {full_name(type(index))} may hold more than its coordinates")
        groups.setdefault(id(index), (type(index), []))[1].append(name)
    return [(kind.__name__, names) for kind, names in groups.values()]


def _of_root(value: Any, _: Walk) -> Node:
    if value.parent is not None:
        raise Refused("a part of a DataTree sees the rest of it; pass the root, or a copy()")
    return _of_tree(value, _)


def _of_tree(value: Any, _: Walk) -> Node:
    children = OrderedDict((name, Viewed(child, _of_tree)) for name, child in value.children.items())
    return typed_node("xarray.DataTree", (value.name, value.to_dataset(inherit=False), children))
