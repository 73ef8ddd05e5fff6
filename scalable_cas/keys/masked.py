"""Masked arrays: dtype, shape, what is not masked, the mask, and the fill value.

Data under the mask is whatever a computation left there and counts as zero. No mask at all (``nomask``) is
not a mask that is false everywhere: ``x[~x.mask]`` of the one has another shape than of the other.
"""

from __future__ import annotations

import numpy as np

from .arrays import content, elements, encoded_bytes, without_attributes
from .dtypes import described, packed
from .nodes import ORDERED, Raw, Refused, Viewed, typed_node
from .tags import typed, typed_prefix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .nodes import Node, Walk
    from .registry import Handlers

_OWN = frozenset(
    (
        "_mask",
        "_data",
        "_fill_value",
        "_hardmask",
        "_sharedmask",
        "_isfield",
        "_baseclass",
        "_optinfo",
        "_basedict",
    )
)


def masked_handlers() -> Handlers:
    """Masked arrays, and the constant ``np.ma.masked``."""
    return {type(np.ma.masked): lambda _: typed("masked", ())}, {np.ma.MaskedArray: _of_masked}


def _of_masked(value: Any, _: Walk) -> Node:
    state = vars(value)
    if state.get("_baseclass", np.ndarray) not in (np.ndarray, np.memmap):
        raise Refused(f"a masked array over a {state['_baseclass'].__name__}; pass one over a plain array")
    without_attributes(value, _OWN)
    data = np.ndarray.view(value, np.ndarray)
    mask = state["_mask"]
    # of a view: reading the fill value of an array that has none yet gives it one
    fill = np.ndarray.view(value, np.ma.MaskedArray).fill_value
    if type(fill) is np.str_ and data.dtype.hasobject:  # what numpy makes of "?", until the array is pickled
        fill = str.__str__(fill)
    parts = (
        Viewed(data.dtype, described),
        data.shape,
        content(data) if mask is np.ma.nomask else _masked(data, mask),
        None if mask is np.ma.nomask else _mask(mask),
        content(_scalar(fill, data.dtype)),
        bool(state.get("_hardmask")),
        dict(state.get("_optinfo") or {}),
    )
    return typed_node("MaskedArray", parts)


def _scalar(value: Any, dtype: Any) -> Any:
    """A value as an array without dimensions; it is never taken apart as a sequence."""
    array = np.empty((), dtype)
    array[()] = value
    return array


def _masked(data: Any, mask: Any) -> object:
    """Content with zeros under the mask. A structured array has a mask for each field."""
    names = data.dtype.names
    if names is not None:
        pairs = [(name, _masked(data[name], mask[name])) for name in names]
        return Viewed(data, lambda _array, _walk: (typed_prefix("fields"), ORDERED, pairs))
    if packed(data.dtype):
        return Raw(encoded_bytes(data, mask=mask))
    items = data.ravel().tolist()
    for place in np.flatnonzero(mask):
        items[place] = 0
    return elements(items)


def _mask(mask: Any) -> object:
    names = mask.dtype.names
    if names is None:
        return Raw(encoded_bytes(mask))
    return tuple(_mask(mask[name]) for name in names)
