"""The wrapper types: how to hash a value, said by a class. Each is both a declared type and a wrapper of one
value.

``@cacheable(table=FileType)`` called with ``"a.csv"`` and with ``FileType("a.csv")`` have one key: that of
the content.
"""

from __future__ import annotations

import os

from blake3 import blake3

from .encode import encode
from .files import directory_input, file_input, known_file
from .nodes import Computing, GiveUp, Raw, Refused, Structural, Viewed, Walk, head, typed_node
from .registry import FIXED_NODES, NODES
from .tags import encode_bytes, encode_int, typed_prefix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .files import Token
    from .nodes import Node


class GenericType:
    """Base of types that say how a value is hashed. ``value`` is what is wrapped.

    A subclass defines one of ``digest(self) -> bytes``, ``__scalable_key__(self)`` (any value that has an
    encoding), or only ``__hash__(self) -> int``, which must then give the same int in every process: no
    ``hash()`` of a str, bytes or date. Used as a declared type, the subclass is called on each argument, and
    the function receives the plain argument.

    Wrappers are equal if their class and content are equal; ``hash()`` is the same int in every process.
    """

    __slots__ = ("__dict__", "__weakref__", "value")

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return int.from_bytes(content_id(self)[:8], "little", signed=True)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GenericType):
            return NotImplemented
        return type(self) is type(other) and content_id(self) == content_id(other)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r})"


class ValueType(GenericType):
    """A value by its content: what a plain argument is hashed by anyway; here also a return type, for any
    value.
    """

    __slots__ = ()


class ObjectType(GenericType):
    """An object by its structure: what would be refused is taken apart by its ``__reduce_ex__(4)``, each part
    by its content.
    """

    __slots__ = ()


class UtilityType(GenericType):
    """Arrays, frames and the like, by their content; what is lazy is computed or read for it."""

    __slots__ = ()


class _PathType(GenericType):
    """A path, hashed by what lies there. It is a path itself, so the function can open it."""

    __slots__ = ()

    def __init__(self, value: str | os.PathLike[str]) -> None:
        if not isinstance(value, str | os.PathLike):
            raise TypeError(f"{type(self).__name__} needs a path, got {type(value).__name__}")
        super().__init__(value)

    def __fspath__(self) -> str:
        return os.fsdecode(os.fspath(self.value))

    def __str__(self) -> str:
        return self.__fspath__()


class FileType(_PathType):
    """A file, by its content: neither its name nor its folder, times or mode count."""

    __slots__ = ()


class DirType(_PathType):
    """A directory, by the names, exec bits and contents below it: neither its own name nor times count."""

    __slots__ = ()


def content_id(value: GenericType) -> bytes:
    """32 bytes that are equal exactly for wrappers of one class and equal content.

    Raises:
        TypeError: the content has no canonical encoding.
        MissingInput: a file or directory is not there.
    """
    try:
        return blake3(encode(value)).digest()
    except Refused as error:
        raise TypeError(f"{type(value).__name__}{error.path}: {error.reason}") from error


# --- handlers ----------------------------------------------------------------------------------------------


def _of_file(value: FileType, walk: Walk) -> Node:
    inputs = _inputs(walk)
    token = file_input(os.fspath(value), walk.before)
    inputs.append(token)
    return typed_node("file", (Raw(encode_bytes(token[3])), token[4]))


def file_part(token: Token) -> bytes:
    """What ``encode`` gives for the file of this token; for the quick way."""
    return _FILE + encode_bytes(token[3]) + encode_int(token[4])


def quick_file(value: object) -> Token | None:
    """The token of a file that is known by its stat, from an argument declared `FileType`; None: the careful
    way has to look.
    """
    if type(value) is not str:
        if type(value) is FileType:
            value = value.value
        elif isinstance(value, GenericType) or not hasattr(value, "__fspath__"):
            return None
        value = os.fspath(value)  # type: ignore[call-overload]
        if type(value) is not str:
            return None
    return known_file(value)


def _of_directory(value: DirType, walk: Walk) -> Node:
    inputs = _inputs(walk)
    token = directory_input(os.fspath(value), walk.before)
    inputs.append(token)
    return typed_node("dir", (Raw(encode_bytes(token[3])),))


def _inputs(walk: Walk) -> list[Token]:
    if (
        walk.inputs is None
    ):  # the quick path of a call does not keep tokens: it starts again in the careful one
        raise GiveUp
    return walk.inputs


def user_wrapper(kind: type[GenericType]) -> Any:
    """The node function of a user's ``GenericType`` subclass; None if it says nothing of its own.

    ``__scalable_key__`` is looked for before (objects.handler_of): it works on any class.
    """
    own: set[str] = set()
    for base in kind.__mro__[: kind.__mro__.index(GenericType)]:
        if base.__module__ != __name__:
            own |= vars(base).keys()
    if "digest" in own:
        return lambda value, _: typed_node("digest", (kind, _digest_of(value)))
    if "__hash__" in own and kind.__hash__ is not None:
        # The method itself, not hash(): that would fold the int into 61 bits first.
        return lambda value, _: typed_node("hash", (kind, Raw(encode_int(_hash_of(value)))))
    for base in kind.__mro__:
        if base in _OWN:  # a subclass of FileType that adds nothing about hashing
            node = _OWN[base]
            return lambda value, _: typed_node("subclass", (kind, {}, Viewed(value, node)))
    return None


def _digest_of(value: Any) -> bytes:
    digest = value.digest()
    if not isinstance(digest, bytes):
        raise TypeError(f"{type(value).__name__}.digest() must return bytes, got {type(digest).__name__}")
    return digest


def _hash_of(value: Any) -> int:
    number = type(value).__hash__(value)  # type: ignore[call-arg]
    if not isinstance(number, int):
        raise TypeError(f"{type(value).__name__}.__hash__() must return int, got {type(number).__name__}")
    return int(number)


_FILE = head(typed_prefix("file"), 2)
_OWN: dict[type, Any] = {
    FileType: _of_file,
    DirType: _of_directory,
    ValueType: lambda value, _: typed_node("ValueType", (value.value,)),
    UtilityType: lambda value, _: typed_node("UtilityType", (Computing(value.value),)),
    ObjectType: lambda value, _: typed_node("ObjectType", (Structural(value.value),)),
}
for _table in (FIXED_NODES, NODES):
    _table.update(_OWN)
