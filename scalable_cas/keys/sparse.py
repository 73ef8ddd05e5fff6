"""Sparse arrays and matrices of scipy: class, dtype, shape, and the entries in one canonical form.

Duplicates are summed, entries are in the order of their place, and indices are 64 bits wide, whatever width
scipy chose. Stored zeros count: ``nnz`` and ``data`` show them. The argument itself is never touched: scipy
sums and sorts in place, and remembers in the matrix that it did.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from .arrays import content, encoded_bytes
from .dtypes import described
from .nodes import Raw, Refused, Viewed, added_to, typed_node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .nodes import Decompose, Node, Walk
    from .registry import Handlers

    Entries = Callable[[Any], tuple[tuple[object, ...], Any]]  # what lies where, and the array of values


# Attributes that scipy itself keeps in an instance, besides those with an underscore.
_OWN = frozenset(
    (
        *("data", "indices", "indptr", "row", "col", "coords", "offsets", "rows", "blocksize"),
        *("dtype", "maxprint", "has_canonical_format", "has_sorted_indices"),
    )
)


def scipy_handlers() -> Handlers:
    """The formats of scipy.sparse, as matrix and as array."""
    formats: dict[str, Entries] = {
        **dict.fromkeys(("csr", "csc"), _compressed),
        **dict.fromkeys(("coo", "dok", "lil"), _coordinates),
        "bsr": _blocks,
        "dia": _diagonals,
    }
    return {}, {
        getattr(sparse, f"{name}_{suffix}"): _handler(f"{name}_{suffix}", entries)
        for name, entries in formats.items()
        for suffix in ("matrix", "array")
    }


def _handler(name: str, entries: Entries) -> Decompose:
    kind = f"scipy.sparse.{name}"

    def decompose(value: Any, _: Walk) -> Node:
        if value.dtype.hasobject:
            raise Refused(f"a {name} of objects: they would have to be added to find their sum")
        places, data = entries(value)
        shape = tuple(int(length) for length in value.shape)
        added = added_to(value, *_OWN)
        return typed_node(kind, (Viewed(data.dtype, described), shape, *places, content(data), *added))

    return decompose


def _whole_numbers(array: Any) -> Raw:
    return Raw(encoded_bytes(np.asarray(array), dtype=np.dtype("<i8")))


def _compressed(value: Any) -> tuple[tuple[object, ...], Any]:
    # A second matrix over the same arrays, because what `value` remembers of its order may be out of date.
    own = type(value)((value.data, value.indices, value.indptr), shape=value.shape)
    if not own.has_canonical_format:
        own = own.copy()
        own.sum_duplicates()
    used = int(own.indptr[-1])  # scipy may keep room for more
    return (_whole_numbers(own.indptr), _whole_numbers(own.indices[:used])), own.data[:used]


def _blocks(value: Any) -> tuple[tuple[object, ...], Any]:
    (indptr, indices), data = _compressed(value)
    return (tuple(int(length) for length in value.blocksize), indptr, indices), data


def _coordinates(value: Any) -> tuple[tuple[object, ...], Any]:
    if value.format != "coo":
        value = value.tocoo()
    places, data = [np.asarray(line) for line in _coords(value)], value.data
    # By hand: scipy's own order of the axes changed between its versions.
    order = np.lexsort(places[::-1])
    places, data = [line[order] for line in places], data[order]
    if len(data):
        first = np.ones(len(data), bool)
        first[1:] = np.any([line[1:] != line[:-1] for line in places], axis=0)
        if not first.all():
            starts = np.flatnonzero(first)
            places, data = [line[starts] for line in places], np.add.reduceat(data, starts)
    return (tuple(_whole_numbers(line) for line in places),), data


def _coords(value: Any) -> tuple[Any, ...]:
    return getattr(value, "coords", None) or (value.row, value.col)


def _diagonals(value: Any) -> tuple[tuple[object, ...], Any]:
    """Each diagonal from its first place in the matrix to its last: ``data`` may hold anything outside."""
    rows, columns = value.shape
    order = np.argsort(value.offsets, kind="stable")
    width = value.data.shape[1]
    lines = [value.data[:0].ravel()]
    for at in order:
        offset = int(value.offsets[at])
        start, stop = max(0, offset), max(0, offset, min(columns, rows + offset))
        line = np.zeros(stop - start, value.dtype)
        found = value.data[at, start : min(stop, width)]
        line[: len(found)] = found
        lines.append(line)
    return (_whole_numbers(value.offsets[order]),), np.concatenate(lines)
