"""Declared types of arguments: what they accept, what the function receives, and what is hashed.

``int``, ``float``, ``bool``, ``str`` and ``bytes`` convert without loss and the function receives what was
hashed, so that equal keys mean equal inputs. Everything else is passed on as it is.
"""

from __future__ import annotations

import os
import sys

from .nodes import Computing, Structural
from .wrappers import DirType, FileType, GenericType, ObjectType, UtilityType, ValueType, user_wrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Convert = Callable[[Any], tuple[object, object]]  # value -> (what the function receives, what is hashed)


# classes of ``T | None`` and ``typing.Optional[T]`` in all versions of Python
_UNIONS = frozenset(("UnionType", "Union", "_UnionGenericAlias"))


_WRAPPERS = f"{FileType.__module__}."  # users know them by their names alone


class Mismatch(Exception):
    """A value is not of the declared type, or cannot be converted without loss."""


class Declared:
    """One argument's declared type. ``exact``: values of just this type need no conversion (None: ask
    ``convert``). ``is_file``: it is `FileType`, for which there is a quick way too.
    """

    __slots__ = ("_convert", "exact", "is_file", "text")

    def __init__(self, declared: object) -> None:
        self.text = type_name(declared)
        self._convert = _compile(declared)
        one = _without_none(declared)
        self.exact = one if one in _SCALARS else None
        self.is_file = one is FileType

    def convert(self, value: object) -> tuple[object, object]:
        """``(what the function receives, what is hashed)``; None passes as None.

        Raises:
            Mismatch: the value does not fit.
        """
        return (None, None) if value is None else self._convert(value)


def type_name(declared: object) -> str:
    """A declared type in words."""
    return declared.__qualname__ if type(declared) is type else str(declared).replace(_WRAPPERS, "")


# --- scalars -----------------------------------------------------------------------------------------------


def _numpy(name: str) -> tuple[Any, ...]:
    """A class of numpy, for isinstance, without importing numpy: none of its values exists before it is
    imported.
    """
    found = getattr(sys.modules.get("numpy"), name, None)
    return (found,) if isinstance(found, type) else ()


def _to_int(value: Any) -> int:
    if isinstance(value, int):
        return int.__index__(value)
    if isinstance(value, _numpy("ndarray")) and value.ndim == 0:
        value = value[()]
    # timedelta64 derives from signedinteger, and its unit would be lost
    if isinstance(value, _numpy("integer")) and not isinstance(value, _numpy("timedelta64")):
        return int(value)
    raise Mismatch


def _to_float(value: Any) -> float:
    if isinstance(value, float):  # numpy's float64 is one
        return float.__float__(value)
    if type(value) is int:
        try:
            converted = float(value)
        except OverflowError as error:
            raise Mismatch("has no exact float") from error
        if int(converted) == value:
            return converted
        raise Mismatch("has no exact float")
    if isinstance(value, _numpy("floating")) and not isinstance(value, _numpy("longdouble")):
        return float(value)
    raise Mismatch


def _to_bool(value: Any) -> bool:
    if isinstance(value, (bool, *_numpy("bool_"))):
        return bool(value)
    raise Mismatch


def _to_str(value: Any) -> str:
    if isinstance(value, str):
        return str.__str__(value)
    raise Mismatch


def _to_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return b"".join((value,))
    raise Mismatch


_SCALARS: dict[object, Callable[[Any], object]] = {
    int: _to_int,
    float: _to_float,
    bool: _to_bool,
    str: _to_str,
    bytes: _to_bytes,
}


# --- everything else ---------------------------------------------------------------------------------------


def _compile(declared: Any) -> Convert:
    """The conversion of a declared type.

    Raises:
        TypeError: it is no type that can be declared.
    """
    origin = getattr(declared, "__origin__", None)
    if origin is not None:
        return _compile_container(declared, origin, declared.__args__)
    if type(declared).__name__ in _UNIONS:
        return _compile_union(declared)
    if not isinstance(declared, type):
        raise TypeError(f"{declared!r} is no type that an argument can be declared as")
    if declared in _SCALARS:
        scalar = _SCALARS[declared]
        return lambda value: (converted := scalar(value), converted)
    if issubclass(declared, GenericType):
        return _compile_wrapper(declared)
    return _compile_class(declared)


def _compile_class(declared: type) -> Convert:
    def check(value: object) -> tuple[object, object]:
        if not isinstance(value, declared):
            raise Mismatch
        return value, value

    return check


def _compile_wrapper(declared: type[GenericType]) -> Convert:
    if declared is ValueType:
        return lambda value: (value, value)
    if declared is UtilityType:
        return lambda value: (value, value if isinstance(value, UtilityType) else Computing(value))
    if declared is ObjectType:
        return lambda value: (value, value if isinstance(value, ObjectType) else Structural(value))
    if issubclass(declared, FileType | DirType):
        return lambda value: (value, _wrapped_path(value, declared))
    if user_wrapper(declared) is None and not hasattr(declared, "__scalable_key__"):
        raise TypeError(
            f"{declared.__qualname__} must define digest(self), __scalable_key__(self) or __hash__(self)"
        )
    return lambda value: (value, value if isinstance(value, declared) else declared(value))


def _wrapped_path(value: object, declared: type[GenericType]) -> GenericType:
    if isinstance(value, declared):
        return value
    if not isinstance(value, str | os.PathLike):
        raise Mismatch
    return declared(value)


def _without_none(declared: Any) -> Any:
    """``T`` for ``T | None`` and ``Optional[T]``: None passes in any case."""
    if type(declared).__name__ in _UNIONS:
        members = [member for member in declared.__args__ if member is not type(None)]
        if len(members) == 1:
            return members[0]
    return declared


def _compile_union(declared: Any) -> Convert:
    members = [member for member in declared.__args__ if member is not type(None)]
    if len(members) != 1:
        raise TypeError(f"{declared} is ambiguous: declare one type (None always passes)")
    return _compile(members[0])


def _compile_container(declared: object, origin: object, arguments: tuple[Any, ...]) -> Convert:
    """``list[T]``, ``tuple[T, ...]``, ``dict[K, V]``, element by element. Of the exact type: a subclass might
    do anything.
    """
    if origin is list and len(arguments) == 1:
        return _sequence(list, Declared(arguments[0]))
    if origin is tuple and len(arguments) == 2 and arguments[1] is ...:
        return _sequence(tuple, Declared(arguments[0]))
    if origin is dict and len(arguments) == 2:
        return _mapping(Declared(arguments[0]), Declared(arguments[1]))
    if type(declared).__name__ in _UNIONS:  # typing.Optional[T]
        return _compile_union(declared)
    raise TypeError(f"{declared} cannot be declared: use list[T], tuple[T, ...] or dict[K, T]")


def _element(declared: Declared, item: object) -> tuple[object, object]:
    try:
        return declared.convert(item)
    except Mismatch as error:
        said = f" that {error}" if error.args else ""
        raise Mismatch(f"holds {type_name(type(item))}{said}") from error


def _sequence(kind: Any, element: Declared) -> Convert:
    def convert(value: Any) -> tuple[object, object]:
        if type(value) is not kind:
            raise Mismatch
        pairs = [_element(element, item) for item in value]
        same = all(passed is item for (passed, _), item in zip(pairs, value, strict=True))
        return value if same else kind(passed for passed, _ in pairs), kind(hashed for _, hashed in pairs)

    return convert


def _mapping(key: Declared, element: Declared) -> Convert:
    def convert(value: Any) -> tuple[object, object]:
        if type(value) is not dict:
            raise Mismatch
        rows = [(name, item, *_element(key, name), *_element(element, item)) for name, item in value.items()]
        same = all(name is new_name and item is new for name, item, new_name, _, new, _ in rows)
        passed = value if same else {new_name: new for _, _, new_name, _, new, _ in rows}
        return passed, {hashed_name: hashed for _, _, _, hashed_name, _, hashed in rows}

    return convert
