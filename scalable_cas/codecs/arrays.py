"""Arrays, scalars and dtypes of numpy, down and up again.

On the way down the memory of an array is not copied if its elements lie together, in C or in Fortran order:
what is stored is a view of it. On the way up a buffer that is writable becomes the array's memory. So a
100 MB array passes in microseconds either way. Three things are copied: what is strided; what has padding
between its fields, which is whatever was in memory and would give equal arrays different bytes; and buffers
that are read-only, where the result has to be writable.
"""

from __future__ import annotations

from math import prod

import numpy as np

from scalable_cas.codecs.dtypes import STRING, has_bools, is_packed, lower_dtype, raise_dtype
from scalable_cas.codecs.rebuilding import reduction_owner
from scalable_cas.codecs.tags import NotPlain
from scalable_cas.codecs.texts import (
    lower_objects,
    lower_texts,
    parts_of,
    raise_objects,
    raise_texts,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.codecs.lifting import Reader
    from scalable_cas.codecs.lowering import Lowering
    from scalable_cas.codecs.tags import Lower, RaiseNode

    Array = Any

#: Unsigned integers that memory is handed out as, by the size of what lies in it.
_UNITS = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}
_OBJECTS = "|O"
#: Subclasses that are nothing but another view of an array, with the attributes that numpy gives them.
_VIEWS: dict[str, tuple[type, frozenset[str]]] = {
    "matrix": (np.matrix, frozenset(("_getitem",))),
    "recarray": (np.recarray, frozenset()),
    "memmap": (np.memmap, frozenset(("_mmap", "filename", "offset", "mode"))),
}
_MASKED = frozenset(
    {
        *("_mask", "_data", "_fill_value", "_hardmask", "_sharedmask", "_isfield", "_baseclass", "_optinfo"),
        "_basedict",
    }
)


def lowering() -> dict[type, Lower]:
    """The way down by exact type."""
    table: dict[type, Lower] = {
        np.ndarray: _lower_once,
        np.ma.MaskedArray: _lower_masked,
        type(np.ma.masked): lambda state, _: state.library("numpy.ma.masked"),
        np.str_: lambda state, value: state.library("numpy.scalar", "U", str.__str__(value)),
        np.bytes_: lambda state, value: state.library("numpy.scalar", "S", b"".join((value,))),
        np.void: _lower_scalar,
        np.record: _lower_scalar,
        **{kind: _lower_subclass(name, known) for name, (kind, known) in _VIEWS.items()},
        **dict.fromkeys(
            _dtype_classes(), lambda state, value: state.library("numpy.dtype", lower_dtype(state, value))
        ),
    }
    for kind in {*np.sctypeDict.values()} - {np.object_, np.str_, np.bytes_, np.void}:
        table[kind] = _lower_scalar
    return table


def _dtype_classes() -> list[type]:
    return [getattr(np.dtypes, name) for name in dir(np.dtypes) if name.endswith("DType")]


# --- arrays, down ------------------------------------------------------------------------------------------


def _lower_once(state: Lowering, value: Array) -> Any:
    state.once(value)
    return lower_array(state, value)


def lower_array(state: Lowering, array: Array, *view: str) -> list[Any]:
    """Return what stands for an exact ndarray, without noting it: for parts of other values."""
    dtype, shape = array.dtype, list(array.shape)
    order = "C" if array.flags.c_contiguous or not array.flags.f_contiguous else "F"
    if dtype.hasobject:
        items = array.ravel(order).tolist()
        if dtype.kind == "O":
            return state.library("numpy.array", _OBJECTS, shape, order, lower_objects(state, items), *view)
        if type(dtype) is not STRING:
            raise NotPlain("fields that hold objects")
        return state.library(
            "numpy.array", lower_dtype(state, dtype), shape, order, _lower_strings(state, items), *view
        )
    described = lower_dtype(state, dtype)
    if dtype.itemsize == 0 and dtype.kind in "SU":
        raise NotPlain("texts without room for a character, which numpy would give some")
    return state.library("numpy.array", described, shape, order, state.memory(memory_of(array, order)), *view)


def memory_of(array: Array, order: str = "C") -> memoryview:
    """Return the elements in C or Fortran order as memory: a view of the array's own if they lie so.

    Its items are as large as the parts of a number (two of a complex one, the characters of a text).
    """
    dtype = array.dtype
    if array.size == 0 or dtype.itemsize == 0:
        return memoryview(b"")
    if order == "F":
        array = array.T
    if not is_packed(dtype):
        array = _without_padding(array)
    size = {"c": dtype.itemsize // 2, "U": 4}.get(dtype.kind, dtype.itemsize)
    line = (
        np.ascontiguousarray(array)
        .reshape(-1)
        .view(_UNITS.get(size if dtype.names is None else 1, _UNITS[1]))
    )
    return line.data  # type: ignore[no-any-return]


def _without_padding(array: Array) -> Array:
    """Return a copy in which what is no content is zero."""
    clean = np.zeros(array.shape, array.dtype)
    _copy_fields(clean, array)
    return clean


def _copy_fields(target: Array, source: Array) -> None:
    dtype = source.dtype
    if dtype.names is not None:
        for name in dtype.names:
            _copy_fields(target[name], source[name])
    elif not is_packed(dtype):  # a long double: 10 bytes of 16 are used, or all
        used = 10 if np.finfo(dtype).nmant == 63 else dtype.itemsize
        for part in ("real", "imag") if dtype.kind == "c" else ("real",):
            _copy_bytes(getattr(target, part), getattr(source, part), used)
    else:
        target[...] = source


def _copy_bytes(target: Array, source: Array, used: int) -> None:
    """Copy the first bytes of each number. Both may be strided: a field, or the real parts of something."""
    size = source.dtype.itemsize
    bytes_of = np.dtype((np.void, size))
    if source.dtype.isnative is False:
        used = size  # the padding of a swapped one is in front; it stays as it is
    there = np.ascontiguousarray(source).view(_UNITS[1]).reshape(*source.shape, size).copy()
    there[..., used:] = 0
    target.view(bytes_of)[...] = there.reshape(*source.shape, size).view(bytes_of).reshape(source.shape)


def _lower_strings(state: Lowering, items: list[Any]) -> list[Any]:
    """Texts of a StringDType: which are missing, if any is, and the texts."""
    missing = np.fromiter((type(item) is not str for item in items), bool, len(items))
    if not missing.any():
        return [None, *lower_texts(state, items)]
    texts = ["" if gone else item for item, gone in zip(items, missing.tolist(), strict=True)]
    return [state.memory(missing.view(_UNITS[1]).data), *lower_texts(state, texts)]


def _lower_subclass(name: str, known: frozenset[str]) -> Lower:
    def lower(state: Lowering, value: Any) -> Any:
        state.once(value)
        _without_attributes(value, known)
        return lower_array(state, np.ndarray.view(value, np.ndarray), name)

    return lower


def _without_attributes(value: Any, known: frozenset[str]) -> None:
    if not known.issuperset(vars(value)):
        raise NotPlain("an array that was given attributes")


def has_notes(value: Any) -> bool:
    """Whether a masked array holds what is no part of its values."""
    own = vars(value)
    return not _MASKED.issuperset(own) or bool(own.get("_optinfo") or own.get("_basedict"))


def _lower_masked(state: Lowering, value: Any) -> Any:
    state.once(value)
    own = vars(value)
    if own.get("_baseclass", np.ndarray) is not np.ndarray or has_notes(value):
        raise NotPlain("a masked array over another class, or with notes")
    mask, fill = own["_mask"], own.get("_fill_value")
    return state.library(
        "numpy.ma.array",
        lower_array(state, np.ndarray.view(value, np.ndarray)),
        None if mask is np.ma.nomask else lower_array(state, mask),
        None if fill is None else lower_array(state, np.asarray(fill)),
        bool(own.get("_hardmask")),
    )


def _lower_scalar(state: Lowering, value: Any) -> Any:
    array = np.empty((), value.dtype)
    array[()] = value
    if array.dtype.hasobject or type(array[()]) is not type(value):
        raise NotPlain("a scalar that its dtype does not give back")
    return state.library("numpy.scalar", lower_dtype(state, array.dtype), bytes(memory_of(array)))


# --- up ----------------------------------------------------------------------------------------------------


def raise_array(reader: Reader, items: list[Any]) -> Array:
    """Return the array that these parts describe.

    Raises:
        ValueError, TypeError: there is none.
    """
    described, dims, order, content, *view = items
    if type(dims) is not list or not {int}.issuperset(map(type, dims)) or any(length < 0 for length in dims):
        raise TypeError("not a shape")
    if type(order) is not str or order not in ("C", "F"):
        raise ValueError("not an order of elements")
    if type(described) is str and described == _OBJECTS:
        array = raise_objects(reader, content, prod(dims)).reshape(dims, order=order)
    else:
        dtype = raise_dtype(described)
        if type(dtype) is STRING:
            array = _raise_strings(reader, content, prod(dims), dtype).reshape(dims, order=order)
        else:
            array = _raise_memory(reader, content, dtype, dims, order)
    if not view:
        return array
    (name,) = view
    kind, _ = _VIEWS[name if type(name) is str else ""]
    return array.view(kind)


def _raise_memory(reader: Reader, content: Any, dtype: Any, dims: list[int], order: Any) -> Array:
    count = prod(dims)
    memory = reader.memory(content, count * dtype.itemsize)
    if not len(memory):
        if dtype.itemsize == 0 and dtype.kind in "SU":
            raise ValueError("texts without room for a character")
        array = np.empty(dims, dtype, order)
        array.flags.writeable = reader.writable
        return array
    array = np.ndarray(dims, dtype, memory, order=order)
    if not array.flags.aligned or (reader.writable and memory.readonly):
        array = array.copy(order)
        array.flags.writeable = reader.writable
    if not reader.trusted and has_bools(dtype):
        _check_bools(array)
    return array


def _check_bools(array: Array) -> None:
    """See that each truth value is 0 or 1: numpy counts on it where it takes memory for what it counts.

    Raises:
        ValueError: one is not.
    """
    if array.dtype.names is not None:
        for name in array.dtype.names:
            _check_bools(array[name])
    elif array.dtype.kind == "b" and array.size and int(array.view(_UNITS[1]).max()) > 1:
        raise ValueError("a truth value that is neither true nor false")


def _raise_strings(reader: Reader, parts: Any, count: int, dtype: Any) -> Array:
    missing, lengths, content = parts_of(parts, 3)
    texts: list[Any] = raise_texts(reader, [lengths, content], count)
    if missing is not None:
        nothing = dtype.na_object  # an AttributeError if the dtype has none
        for place in np.flatnonzero(np.frombuffer(reader.memory(missing, count), _UNITS[1])).tolist():
            texts[place] = nothing
    line = np.empty(count, dtype)
    line[:] = texts
    return line


def _raise_masked(_reader: Reader, items: list[Any]) -> Any:
    data, mask, fill, hard = items
    if {np.ndarray, type(None)}.issuperset((type(mask), type(fill))) is False or type(data) is not np.ndarray:
        raise TypeError("the arrays of a masked array are missing")
    if type(hard) is not bool or (mask is not None and mask.shape != data.shape):
        raise ValueError("a mask that does not fit")
    if mask is not None and mask.dtype != np.ma.make_mask_descr(data.dtype):
        raise ValueError("a mask of another type")
    if fill is not None and (fill.shape != () or fill.dtype.kind != data.dtype.kind):
        raise ValueError("a fill value of another type")
    return make_masked(data, mask, fill, hard)


def make_masked(data: Array, mask: Array | None, fill: Array | None, hard: bool) -> Any:
    """Return a masked array of these parts. Pickles name this function; it must stay where it is."""
    value = np.ma.MaskedArray(
        data, np.ma.nomask if mask is None else mask, copy=False, hard_mask=hard, keep_mask=False
    )
    if fill is not None:
        value._fill_value = fill  # noqa: SLF001 (the setter cuts a text to the length of the array's)
    return value


def make_array(data: Array, dtype: Any, shape: tuple[int, ...], order: Any, kind: Any) -> Any:
    """Return an array over these bytes. Pickles name this function; it must stay where it is."""
    array: Any = np.ndarray(shape, dtype, data, order=order)
    return array if kind is np.ndarray else array.view(kind)


def reduced(value: Any) -> Any:
    """How an array is pickled where numpy's own way would lose something of it; None where it would not."""
    kind: Any = type(value)
    if kind is np.ma.MaskedArray:
        return _reduced_masked(value)
    owner: Any = reduction_owner(kind)
    if value.dtype.isnative or owner is not np.ndarray:
        return None
    # numpy puts what is strided, of a subclass, or a time, into the byte order of the machine
    array = np.ndarray.view(value, np.ndarray)
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    line = np.ascontiguousarray((array.T if order == "F" else array).reshape(-1))
    data = line.view(_UNITS[1]) if line.size else np.empty(0, _UNITS[1])
    return make_array, (data, value.dtype, value.shape, order, kind)


def _reduced_masked(value: Any) -> tuple[Any, ...] | None:
    """How a masked array is pickled: numpy's own way drops that the mask is hard, and gives a mask to one
    that has none. None where it has more than these parts.
    """
    own = vars(value)
    if own.get("_baseclass", np.ndarray) is not np.ndarray or has_notes(value):
        return None
    mask, fill = own["_mask"], own.get("_fill_value")
    parts = (None if mask is np.ma.nomask else mask, None if fill is None else np.asarray(fill))
    return make_masked, (np.ndarray.view(value, np.ndarray), *parts, bool(own.get("_hardmask")))


def _raise_scalar(reader: Reader, items: list[Any]) -> Any:
    described, content = items
    if type(described) is str and described in ("U", "S"):
        kind, base = (np.str_, str) if described == "U" else (np.bytes_, bytes)
        if type(content) is not base:
            raise TypeError("the text of a scalar is missing")
        return kind(content)
    dtype = raise_dtype(described)
    if (
        type(content) is not bytes
        or dtype.hasobject
        or dtype.subdtype is not None
        or len(content) != dtype.itemsize
    ):
        raise ValueError("a scalar of another size")
    array = np.ndarray((), dtype, bytearray(content) or bytearray(1))
    if not reader.trusted and has_bools(dtype):
        _check_bools(array)
    return array[()]


def _raise_dtype(_reader: Reader, items: list[Any]) -> Any:
    (described,) = items
    return np.dtype(object) if type(described) is str and described == _OBJECTS else raise_dtype(described)


def exactly(value: Any, *kinds: type) -> Any:
    """Return a part if it is of one of these types.

    Raises:
        TypeError: it is not.
    """
    if type(value) not in kinds:
        raise TypeError(f"a part of type {type(value).__name__} where none may be")
    return value


def column(value: Any, kind: str | None = None, length: int | None = None) -> Array:
    """Return a part if it is an array of one dimension (of this dtype and length, if given).

    Raises:
        TypeError, ValueError: it is not.
    """
    exactly(value, np.ndarray)
    if value.ndim != 1 or (kind is not None and value.dtype.str != kind):
        raise ValueError(f"not a line of {kind or 'values'}")
    if length is not None and len(value) != length:
        raise ValueError(f"{len(value)} values where {length} belong")
    return value


RAISE: dict[str, RaiseNode] = {
    "numpy.array": raise_array,
    "numpy.ma.array": _raise_masked,
    "numpy.ma.masked": lambda _reader, _items: np.ma.masked,
    "numpy.scalar": _raise_scalar,
    "numpy.dtype": _raise_dtype,
}
