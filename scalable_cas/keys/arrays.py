"""Arrays and scalars of numpy, by dtype, shape and content in C order.

Memory order, strides, alignment, the writeable flag and where the memory comes from (a memmap) do not count.
Content is hashed where it lies. What is not contiguous goes through one buffer of 4 MiB, so an array in
Fortran order, every second element, or a scalar that was broadcast to a terabyte need no more than that.
"""

from __future__ import annotations

import sys

import numpy as np

from .callables import class_part
from .digest import LARGE, digest, hasher
from .dtypes import CLASSES, described, packed, plain_text
from .nodes import DONE, ORDERED, Fields, Raw, Refused, Viewed, typed_node
from .objects import attributes
from .tags import (
    B_TAG,
    I_TAG,
    INLINE,
    encode_bytes,
    encode_str,
    finish,
    pack_int,
    pack_length,
    pack_u64,
    typed,
    typed_prefix,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .nodes import Decompose, Leaf, Node, Walk
    from .registry import Handlers

    Array = Any

_LONG = ord("B")
# Bytes hashed at once where an array cannot be hashed in place: from 1 MiB on the size makes no difference to
# the time (measured), and this one stays in the cache.
_BLOCK = 4 << 20
_STRIP = 128  # columns; 64 are as good, 32 are not
# Prefixes kept. Each array that was unpickled in another byte order brings a dtype object of its own.
_MOST_DTYPES = 256


# --- content -----------------------------------------------------------------------------------------------


def content(array: Array) -> object:
    """The part of a key that the elements are: bytes where each byte counts, else field by field, or a list.

    ``array`` is of the exact type ndarray.
    """
    dtype = array.dtype
    if packed(dtype):
        return Raw(encoded_bytes(array))
    if dtype.names is not None:
        return Viewed(array, _by_field)
    return elements(array.ravel().tolist())


def _by_field(array: Array, _: Walk) -> Node:
    names = array.dtype.names or ()
    return typed_prefix("fields"), ORDERED, [(name, content(array[name])) for name in names]


def elements(items: list[Any]) -> object:
    """A list as itself; one of nothing but text as one piece of text, ten times as fast."""
    if items and {*map(type, items)} == {str}:
        joined = "\0".join(items)
        if joined.count("\0") == len(items) - 1:
            return Raw(typed("texts", (encode_bytes(joined.encode("utf-8", "surrogatepass")),)))
    return items


def encoded_bytes(
    array: Array, mask: Array | None = None, dtype: Any = None, walk: Walk | None = None
) -> bytes:
    """The encoding of the bytes in C order, converted to ``dtype``, and zero where ``mask`` is true."""
    dtype = dtype or array.dtype
    size = array.size * dtype.itemsize
    if size > INLINE and mask is None and dtype == array.dtype and array.flags.c_contiguous:
        data = array.reshape(-1).view(np.uint8).data
        if walk is None or size < LARGE:
            return pack_length(_LONG, size) + digest(data, size)
        return pack_length(_LONG, size) + walk.hasher(size).update(data).digest()
    buffer = np.empty(max(1, min(array.size, _BLOCK // (dtype.itemsize or 1))), dtype)
    if size <= INLINE:
        parts: list[bytes] = []
        _feed(array, mask, buffer, lambda part: parts.append(part.tobytes()))
        return pack_length(B_TAG, size) + b"".join(parts)
    running = hasher(size) if walk is None else walk.hasher(size)
    _feed(array, mask, buffer, lambda part: running.update(part.reshape(-1).view(np.uint8).data))
    return pack_length(_LONG, size) + running.digest()


def _feed(array: Array, mask: Array | None, buffer: Array, take: Callable[[Array], object]) -> None:
    """Give the elements in C order to ``take``, in parts that fit into ``buffer``."""
    if array.size <= buffer.size:
        part = buffer[: array.size].reshape(array.shape)
        _copy(part, array)
        if mask is not None:
            part[mask] = np.zeros((), part.dtype)
        take(part)
        return
    rows = buffer.size // (array.size // len(array))
    for start in range(0, len(array), rows or 1):
        place = slice(start, start + rows) if rows else start  # a row that is too long is itself divided
        _feed(array[place], None if mask is None else mask[place], buffer, take)


def _copy(target: Array, source: Array) -> None:
    """``np.copyto``, in strips where the last axis of the source is not the one that lies together.

    Numpy walks along the rows of the target, so of an array in Fortran order each step reads another line of
    the cache, and with thousands of columns the line is gone before its neighbour is wanted: half the speed.
    """
    if source.ndim > 1 and abs(source.strides[-1]) > abs(source.strides[0]):
        for start in range(0, source.shape[-1], _STRIP):
            strip = ..., slice(start, start + _STRIP)
            np.copyto(target[strip], source[strip])
    else:
        np.copyto(target, source)


# --- arrays ------------------------------------------------------------------------------------------------


def array_handler(kind: str) -> Decompose:
    """What takes an exact ndarray apart. The start of the encoding is kept for each dtype object.

    By its id, not by ``==``, which takes dtypes for equal that are not (dtypes.py); so each is kept alive.
    """
    start = typed_prefix(kind) + pack_u64(3)
    known: dict[int, tuple[object, bytes]] = {}

    def prefix(dtype: Any) -> bytes | None:
        text = plain_text(dtype)
        if text is None or dtype.hasobject:
            return None
        if len(known) >= _MOST_DTYPES:
            known.clear()
        encoded = start + encode_str(text)
        known[id(dtype)] = dtype, encoded
        return encoded

    def decompose(value: Array, walk: Walk) -> Node:
        dtype = value.dtype
        found = known.get(id(dtype))
        beginning = found[1] if found is not None else prefix(dtype)
        shape = value.shape
        if beginning is None:
            return typed_node(kind, (Viewed(dtype, described), shape, content(value)))
        size = value.nbytes
        beginning += b"t" + pack_u64(len(shape)) + b"".join([pack_int(I_TAG, length) for length in shape])
        if size <= INLINE:
            return finish(beginning + pack_length(B_TAG, size) + value.tobytes()), DONE, ()
        encoded = finish(beginning + encoded_bytes(value, walk=walk))
        walk.memo[id(value)] = encoded, value  # the same large array in many places is read once
        return encoded, DONE, ()

    return decompose


_of_array = array_handler("ndarray")


def is_plain(dtype: Any) -> bool:
    """Whether its text says all of a dtype, and the bytes of an element are its content."""
    return plain_text(dtype) is not None and not dtype.hasobject


def around(array: Array, content: bytes) -> bytes:
    """The encoding of an exact ndarray of a plain dtype around that of its content (`encoded_bytes`)."""
    lengths = [pack_int(I_TAG, length) for length in array.shape]
    shape = b"t" + pack_u64(len(lengths)) + b"".join(lengths)
    text = encode_str(plain_text(array.dtype) or "")
    return finish(typed_prefix("ndarray") + pack_u64(3) + text + shape + content)


def _of_subclass(kind: str, known: frozenset[str] = frozenset()) -> Decompose:
    """One of numpy's own subclasses, as the array that it is; refused if it was given attributes."""
    inner = array_handler(kind)

    def decompose(value: Any, walk: Walk) -> Node:
        without_attributes(value, known)
        return inner(np.ndarray.view(value, np.ndarray), walk)

    return decompose


def without_attributes(value: Any, known: frozenset[str]) -> None:
    """See that an instance has no attributes but those of its class.

    Raises:
        Refused: it has; they may mean anything.
    """
    own = attributes(value, type(value)).keys() - known
    if own:
        raise Refused(f"this {type(value).__name__} was given attributes ({min(own)}); pass a plain array")


# --- scalars, dtypes, functions ----------------------------------------------------------------------------


def _scalars() -> dict[type, Leaf]:
    """np.float64 is a float and np.str_ a str to Python; here each is its own type, with its dtype."""
    names = ["bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
    names += ["longlong", "ulonglong", "intc", "uintc"]  # each may be one of those, or a type beside them
    names += ["float16", "float32", "float64", "complex64", "complex128"]
    start = typed_prefix("numpy scalar") + pack_u64(2)

    def of(kind: Any) -> Leaf:
        beginning = start + encode_str(np.dtype(kind).str)
        return lambda value: beginning + encode_bytes(value.tobytes())

    def of_time(value: Any) -> bytes:
        return start + encode_str(value.dtype.str) + encode_bytes(value.tobytes())

    return {
        **{kind: of(kind) for kind in (getattr(np, name) for name in names)},
        np.datetime64: of_time,
        np.timedelta64: of_time,
        np.str_: lambda value: typed("numpy str", (encode_str(str.__str__(value)),)),
        np.bytes_: lambda value: typed("numpy bytes", (encode_bytes(b"".join((value,))),)),
    }


def _of_void(value: Any, _: Walk) -> Node:
    dtype = value.dtype
    array = np.empty((), dtype)
    array[()] = value
    return typed_node("numpy scalar", (Viewed(dtype, described), content(array)))


def _by_name(value: Any, _: Walk) -> Node:
    """A function in C, or a ufunc, by the module and name under which it is found."""
    name = value.__name__
    for module in (getattr(value, "__module__", None), "numpy", "numpy.linalg", "scipy.special"):
        if isinstance(module, str) and getattr(sys.modules.get(module), name, None) is value:
            return typed_node("builtin", (f"{module}:{name}",))
    raise Refused(f"this {type(value).__name__} is not found by its name; pass the function that makes it")


def _of_polynomial(kind: type) -> Decompose:
    """By what numpy's own classes hold, be it in the instance or, as a default, in the class."""
    part = class_part(kind)
    names = ("coeffs", "variable") if kind is np.poly1d else ("coef", "domain", "window", "symbol")
    return lambda value, _: typed_node(
        "object", (part, Fields((name, getattr(value, name)) for name in names))
    )


def numpy_handlers() -> Handlers:
    """Ndarray and numpy's own subclasses of it, scalars, dtypes, ufuncs and functions, poly1d."""
    nodes: dict[type, Decompose] = {
        np.ndarray: _of_array,
        np.memmap: _of_memmap,
        np.matrix: _of_subclass("matrix", frozenset(("_getitem",))),
        np.recarray: _of_subclass("recarray"),
        np.void: _of_void,
        np.record: _of_void,
        np.ufunc: _by_name,
        type(np.mean): _by_name,
        np.poly1d: _of_polynomial(np.poly1d),
        **dict.fromkeys(CLASSES, lambda value, _: typed_node("dtype", (Viewed(value, described),))),
    }
    nodes |= char_handlers()[1]  # numpy 1 says of its chararray that it is of "numpy"
    return _scalars(), nodes


def char_handlers() -> Handlers:
    """The class chararray, by the module that has it: numpy 2.5 warns of every use of its public name."""
    modules = (sys.modules.get(f"numpy.{core}.defchararray") for core in ("_core", "core"))
    kinds = {vars(module).get("chararray") for module in modules if module is not None}
    return {}, {kind: _of_subclass("chararray") for kind in kinds if isinstance(kind, type)}


def polynomial_handlers() -> Handlers:
    """The classes of numpy.polynomial."""
    kinds = (getattr(np.polynomial, name) for name in np.polynomial.__all__)
    return {}, {kind: _of_polynomial(kind) for kind in kinds if isinstance(kind, type)}


def _of_memmap(value: Any, walk: Walk) -> Node:
    without_attributes(value, frozenset(("_mmap", "filename", "offset", "mode")))
    return _of_array(np.ndarray.view(value, np.ndarray), walk)
