"""Families of types: which rule takes a class apart when nothing is said about that very class.

No method of the user's is called: state is read with ``object``'s own access, base values with the base
type's own methods. The only exceptions are what the user wrote for us (``__scalable_key__``,
``register_key``) and, in arguments declared ``ObjectType``, ``__reduce_ex__``.
"""

from __future__ import annotations

import sys

from .callables import class_part, of_class
from .nodes import PAIRS, SET, Fields, Raw, Refused, Viewed, typed_node
from .refusals import has_reason, reason_for
from .registry import CLOSED, library_handlers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .nodes import Decompose, Leaf, Node, Walk

    Found = tuple[Leaf | None, Decompose | None]

# Base values of instances of subclasses of the recipe's own types, without a method of the subclass, and
# without asking items for their hash (which building a dict or a set of them would do).
_BASE_VALUES: dict[type, Callable[[Any], object]] = {
    int: int.__index__,
    float: float.__float__,
    complex: complex.__complex__,
    str: str.__str__,
    bytes: lambda value: b"".join((value,)),
    bytearray: lambda value: bytearray(memoryview(value)),
    list: lambda value: [*list.__iter__(value)],
    tuple: lambda value: (*tuple.__iter__(value),),
    dict: lambda value: Viewed(value, lambda table, _: (b"d", PAIRS, [*dict.items(table)])),
    set: lambda value: Viewed(value, lambda items, _: (b"e", SET, [*set.__iter__(items)])),
    frozenset: lambda value: Viewed(value, lambda items, _: (b"z", SET, [*frozenset.__iter__(items)])),
}
_PICKLING = ("__reduce_ex__", "__reduce__", "__getstate__", "__getnewargs_ex__", "__getnewargs__")
_ABSENT = object()
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: not set on the interpreter's own types, whose state is all in C


def handler_of(kind: type, registered: Mapping[type, Callable[[Any], object]]) -> Found:
    """The handler of a type that has no fixed encoding: a leaf or a node function, never both."""
    if issubclass(kind, type):
        return None, of_class
    if "__scalable_identity__" in _names(kind):
        return None, _cached_function
    protocol = _class_attribute(kind, "__scalable_key__")
    if protocol is not _ABSENT and protocol is not None:
        return None, lambda value, _: typed_node("key", (kind, value.__scalable_key__()))
    wrappers = sys.modules.get(f"{__package__}.wrappers")
    if wrappers is not None and issubclass(kind, wrappers.GenericType):
        return None, wrappers.user_wrapper(kind) or _refusal(kind)
    for base in kind.__mro__:
        if base in registered:
            return None, _registered(kind, registered[base])
    return _from_library(kind) or (None, _family(kind) or _refusal(kind))


def _names(kind: type) -> set[str]:
    return {name for base in kind.__mro__ for name in vars(base)}


def _class_attribute(kind: type, name: str) -> Any:
    """An attribute of the class as it stands in a ``__dict__`` of its MRO; ``_ABSENT`` if it is in none."""
    for base in kind.__mro__:
        if name in vars(base):
            return vars(base)[name]
    return _ABSENT


def _registered(kind: type, function: Callable[[Any], object]) -> Decompose:
    return lambda value, _: typed_node("key", (kind, function(value)))


def _cached_function(value: Any, _: Walk) -> Node:
    return typed_node("cached", (value.__scalable_identity__,))


# --- types of libraries, and their subclasses --------------------------------------------------------------


def _from_library(kind: type) -> Found | None:
    """The handler of a library for this type or its nearest base, or the library's refusal."""
    for base in kind.__mro__[:-1]:
        handlers = library_handlers(base.__module__)
        if handlers is None:
            return None, _refusal(kind)
        leaves, nodes = handlers
        leaf, node = leaves.get(base), nodes.get(base)
        if (leaf is not None or node is not None) and base is kind:
            return leaf, node
        if base.__module__.partition(".")[0] in CLOSED and not _is_enum(kind):
            return None, _refusal(kind)
        if leaf is None and node is None:
            continue
        if _is_enum(kind):
            return None
        by_fields = _by_fields(kind, _inner(leaf, node))
        if by_fields is not None:
            return None, by_fields
        return (None, _subclass(kind, _inner(leaf, node))) if _pickles_like(kind, base) else None
    return None


def _inner(leaf: Leaf | None, node: Decompose | None) -> Callable[[Any], object]:
    """An instance of a subclass as one of the base type that has these handlers."""
    if leaf is not None:
        return lambda value: Raw(leaf(value))
    return lambda value: Viewed(value, node)


def _pickles_like(kind: type, base: type) -> bool:
    """Whether ``kind`` adds no pickling method of its own to ``base``: then attributes and base value are all
    there is.
    """
    return all(_class_attribute(kind, name) is _class_attribute(base, name) for name in _PICKLING)


def _subclass(kind: type, base_value: Callable[[Any], object]) -> Decompose:
    """An instance of a subclass of a type that is encoded by itself: class, attributes, base value."""
    part = class_part(kind)
    return lambda value, _: typed_node("subclass", (part, Fields(attributes(value, kind)), base_value(value)))


# --- families ----------------------------------------------------------------------------------------------


def _is_enum(kind: type) -> bool:
    enum = sys.modules.get("enum")
    return enum is not None and issubclass(kind, enum.Enum)


def _is_pydantic(kind: type) -> bool:
    pydantic = sys.modules.get("pydantic.main")
    return pydantic is not None and issubclass(kind, pydantic.BaseModel)


def _family(kind: type) -> Decompose | None:
    if _is_enum(kind):
        return _of_enum(kind)
    base = next((base for base in kind.__mro__ if base in _BASE_VALUES), None)
    by_fields = _by_fields(kind, None if base is None else _BASE_VALUES[base])
    if by_fields is not None:
        return by_fields
    if _is_pydantic(kind):
        from .models import model_handler

        own = next(base for base in kind.__mro__ if base.__module__.partition(".")[0] == "pydantic")
        return model_handler(kind) if _pickles_like(kind, own) else None
    if base is tuple and _is_namedtuple(kind):
        return _of_namedtuple(kind)
    if base is not None:
        return _subclass(kind, _BASE_VALUES[base]) if _pickles_like(kind, base) else None
    return _of_plain(kind)


def _of_enum(kind: type) -> Decompose:
    from enum import Flag

    part = class_part(kind)
    if issubclass(kind, Flag):
        return lambda value, _: typed_node("flag", (part, object.__getattribute__(value, "_value_")))
    simple = (type(None), bool, int, float, complex, str, bytes)

    def decompose(member: Any, _: Walk) -> Node:
        name, value = (object.__getattribute__(member, field) for field in ("_name_", "_value_"))
        # A value of another kind would make the key depend on what has a handler; the name tells members
        # apart anyway.
        return typed_node("enum", (part, name, value) if type(value) in simple else (part, name))

    return decompose


def _is_namedtuple(kind: type) -> bool:
    fields = _class_attribute(kind, "_fields")
    return isinstance(fields, tuple) and all(type(name) is str for name in fields)


def _of_namedtuple(kind: type) -> Decompose:
    names, part = _class_attribute(kind, "_fields"), class_part(kind)

    return lambda value, _: typed_node(
        "namedtuple", (part, names, (*tuple.__iter__(value),), Fields(attributes(value, kind)))
    )


def _by_fields(kind: type, base_value: Callable[[Any], object] | None) -> Decompose | None:
    """The handler of a dataclass or an attrs class; ``base_value`` gives what an instance is as one of the
    type that it derives from, if that is a type with a value.
    """
    if _class_attribute(kind, "__dataclass_fields__") is not _ABSENT:
        from dataclasses import fields as fields_of

        metadata = {field.name: field.metadata for field in fields_of(kind)}
        return _of_fields("dataclass", kind, base_value, metadata)
    fields = _class_attribute(kind, "__attrs_attrs__")
    if fields is not _ABSENT:
        return _of_fields("attrs", kind, base_value, {field.name: field.metadata for field in fields})
    return None


def _of_fields(
    kind_name: str, kind: type, base_value: Callable[[Any], object] | None, fields: dict[str, Any]
) -> Decompose:
    """Dataclass and attrs: every attribute of the instance, less those marked ``metadata={"cache_key":
    False}``.
    """
    part = class_part(kind)
    left_out = {name for name, metadata in fields.items() if metadata.get("cache_key") is False}

    def decompose(value: Any, _: Walk) -> Node:
        state = attributes(value, kind)
        for name in fields:
            if name not in state:  # a default that lives on the class, as with field(init=False, default=…)
                default = _class_attribute(kind, name)
                if default is not _ABSENT and not hasattr(type(default), "__get__"):
                    state[name] = default
        named = Fields((name, item) for name, item in state.items() if name not in left_out)
        base = () if base_value is None else (base_value(value),)
        return typed_node(kind_name, (part, named, *base))

    return decompose


def _of_plain(kind: type) -> Decompose | None:
    """A class that leaves pickling to ``object``: then its attributes are all its state.

    ``object.__reduce_ex__`` proves it: it raises for a C type with state that Python does not see.
    """
    if not kind.__flags__ & _HEAP_TYPE or not _pickles_like(kind, object) or has_reason(kind):
        return None
    part, complete = class_part(kind), False  # asked once per class, when the first instance comes

    def decompose(value: Any, walk: Walk) -> Node:
        nonlocal complete
        if not complete:
            try:
                object.__reduce_ex__(value, 4)
            except TypeError:
                return _refusal(kind)(value, walk)
            complete = True
        state = attributes(value, kind)
        return typed_node("object", (part, Fields(state)))

    return decompose


def attributes(value: object, kind: type) -> dict[str, object]:
    """The instance's own attributes, from ``__dict__`` and slots, without what ``cached_property``
    remembered.
    """
    try:
        state = dict.copy(object.__getattribute__(value, "__dict__"))
    except AttributeError:
        state = {}
    cached = getattr(sys.modules.get("functools"), "cached_property", None)
    slots: dict[str, object] = {}
    for base in kind.__mro__:
        names = vars(base)
        if "__slots__" in names:
            for name, item in names.items():
                if type(item) is not _SLOT:
                    continue
                label = name
                while label in slots:  # a class below has one of this name, and methods here see their own
                    label = f"{label} of {base.__qualname__}"
                try:
                    slots[label] = item.__get__(value, kind)
                except AttributeError:  # never set
                    continue
        if cached is not None:
            for name in [name for name in state if type(names.get(name)) is cached]:
                del state[name]
    return {**state, **slots}


class _Slotted:
    __slots__ = ("slot",)


_SLOT = type(vars(_Slotted)["slot"])  # what a slot is in a class's __dict__


# --- refusal -----------------------------------------------------------------------------------------------


def _refusal(kind: type) -> Decompose:
    def decompose(value: Any, walk: Walk) -> Node:
        if walk.structural:
            from .structural import of_reduced

            return of_reduced(value, kind)
        raise Refused(reason_for(kind))

    return decompose
