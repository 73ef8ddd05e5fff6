"""Members of enums, named tuples and dataclasses, down and up again: plain data under the name of their
class.

A class is described once in a value, where it first occurs, with the names of its fields; later instances
refer to it by number. What comes back is an instance of the class of that name as it is then, so its fields
must still be those that were stored, and a member of an enum must still have its value; otherwise the bytes
are malformed, which is a miss.
"""

from __future__ import annotations

import sys

from scalable_cas.codecs import tags
from scalable_cas.codecs.lowering import LEAVES
from scalable_cas.codecs.shapes import DATACLASS, ENUM, NAMED_TUPLE, Shape, enum_member, find, shape_of
from scalable_cas.codecs.tags import NotPlain
from scalable_cas.errors import MalformedObject, UntrustedEntry
from scalable_cas.modules import canonical_module, loaded_module, resolve_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from scalable_cas.codecs.lifting import Reader
    from scalable_cas.codecs.lowering import Lowering
    from scalable_cas.codecs.tags import Lower, RaiseNode


def lower_for(cls: type) -> Lower | None:
    """Return the way down for instances of this class, or `None` if it has no shape or cannot be found by its
    name.
    """
    shape = shape_of(cls)
    if shape is None:
        return None
    module = loaded_module(canonical_module(cls.__module__))
    if module is None or find(module, cls.__qualname__) is not cls:
        return None  # local, or another class has its name by now
    parts = {ENUM: _lower_member, NAMED_TUPLE: _lower_tuple, DATACLASS: _lower_fields}[shape.kind]
    return _bind(parts, shape)


def _bind(parts: Callable[[Lowering, Shape, Any], list[Any]], shape: Shape) -> Lower:
    def lower(state: Lowering, value: Any) -> list[Any]:
        return state.marked(tags.INSTANCE, *parts(state, shape, value))

    return lower


def _lower_class(state: Lowering, shape: Shape, present: tuple[str, ...]) -> Any:
    """Return what stands for the class of an instance whose fields were set in the order of `present`."""
    number = state.classes.get((shape, present))
    if number is not None:
        return number
    state.classes[shape, present] = len(state.classes)
    parts: list[Any] = [shape.kind, canonical_module(shape.cls.__module__), shape.cls.__qualname__]
    if shape.kind != ENUM:
        parts.append(list(shape.names))
        if present != shape.names:
            parts.append(list(present))
    return state.marked(tags.CLASS, *parts)


def _lower_member(state: Lowering, shape: Shape, member: Any) -> list[Any]:
    cls = _lower_class(state, shape, ())
    name, value = member._name_, member._value_
    if type(name) is str and enum_member(shape.cls, name) is member:
        # The value is a check on the class that is found later; one that is not a leaf cannot be compared
        # safely. A NaN cannot either: it equals nothing.
        comparable = type(value) in LEAVES and value == value  # noqa: PLR0124
        return [cls, name, *state.each((value,))] if comparable else [cls, name]
    if type(value) is int and shape.cls(value) is member:
        # Flags combined: a member that the class does not list.
        return [cls, None, *state.each((value,))]
    raise NotPlain("a member that its enum does not list")


def _lower_tuple(state: Lowering, shape: Shape, value: tuple[Any, ...]) -> list[Any]:
    if tuple.__len__(value) != len(shape.names) or (shape.attributes and shape.attributes.__get__(value)):
        raise NotPlain("a named tuple with more or less than its fields")
    return [_lower_class(state, shape, shape.names), *state.each(list(tuple.__iter__(value)))]


def _lower_fields(state: Lowering, shape: Shape, value: Any) -> list[Any]:
    if shape.counts:
        state.once(value)
    found: dict[str, Any] = shape.attributes.__get__(value) if shape.attributes else {}
    if shape.slots:
        found = dict(found)
    for name, slot in shape.slots.items():
        try:
            found[name] = slot.__get__(value)
        except AttributeError:
            continue  # never set, or deleted: it is not there on the way up either
    present = tuple(found)
    if present != shape.names and not found.keys() <= set(shape.names):
        raise NotPlain("a dataclass instance with attributes that are no fields")
    return [_lower_class(state, shape, present), *state.each(found.values())]


class KnownClass:
    """A class that the bytes have described: its shape here and the order of an instance's fields."""

    __slots__ = ("present", "shape")

    def __init__(self, shape: Shape, present: tuple[str, ...]) -> None:
        self.shape = shape
        self.present = present


def _raise_class(reader: Reader, items: list[Any]) -> KnownClass:
    kind, module, qualname, *lists = items
    # Exact types first: an instance of a user's class among them would run code when compared or hashed.
    if type(kind) is not int or {list}.union(map(type, lists)) != {list} or len(lists) > 2:
        raise TypeError("not the description of a class")
    if {type(text) for texts in ([module, qualname], *lists) for text in texts} != {str}:
        raise TypeError("names of a class and its fields are text")
    shape = _find_shape(reader, module, qualname)
    names = tuple(lists[0]) if lists else ()
    present = tuple(lists[1]) if len(lists) > 1 else names
    if shape.kind != kind or shape.names != names:
        raise MalformedObject("plain value", f"{_shown(module, qualname)} has changed since it was stored")
    if len(set(present)) != len(present) or not set(present) <= set(names):
        raise ValueError("fields that the class does not have")
    if not reader.trusted and not shape.hashes_without_code():
        reader.own_hash.add(shape.cls)
    known = KnownClass(shape, present)
    reader.classes.append(known)
    reader.unused += 1
    return known


def _find_shape(reader: Reader, module: str, qualname: str) -> Shape:
    name = _shown(module, qualname)
    if reader.trusted:
        try:
            home = resolve_module(module)
        except (Exception, SystemExit) as error:
            # Importing runs the user's module, which can fail with anything, also by ending a script without
            # a `__main__` guard. Whatever it was, this value cannot be had, and that is a miss.
            raise MalformedObject("plain value", f"the module of {name} cannot be imported") from error
    else:
        found = loaded_module(module)
        if found is None or not issubclass(type(found), type(sys)):
            raise UntrustedEntry(name, "its module is not imported yet, and importing it would run code")
        home = found
    shape = shape_of(find(home, qualname))
    if shape is None:
        raise MalformedObject("plain value", f"{name} is no enum, named tuple or dataclass here")
    return shape


def _shown(module: str, qualname: str) -> str:
    # Quoted and short: it may come from foreign bytes and end on a terminal.
    return f"class {f'{module}:{qualname}'[:80]!r}"


def _raise_instance(reader: Reader, items: list[Any]) -> Any:
    known = items.pop(0)
    if type(known) is KnownClass:
        reader.unused -= 1
    elif type(known) is int and 0 <= known < len(reader.classes):
        known = reader.classes[known]
    else:
        raise ValueError("an instance without a class")
    shape = known.shape
    if shape.kind == ENUM:
        return _raise_member(reader, shape, items)
    if len(items) != len(known.present):
        raise ValueError("an instance with more or fewer parts than fields")
    if shape.kind == NAMED_TUPLE:
        return tuple.__new__(shape.cls, items)
    value: Any = object.__new__(shape.cls)
    attributes: dict[str, Any] = shape.attributes.__get__(value) if shape.attributes else {}
    slots = shape.slots
    for name, item in zip(known.present, items, strict=True):
        if name in slots:
            slots[name].__set__(value, item)
        else:
            attributes[name] = item
    return value


def _raise_member(reader: Reader, shape: Shape, items: list[Any]) -> Any:
    name, *values = items
    if type(name) not in (str, type(None)):
        raise TypeError("the name of a member is text")
    if name is None:
        (bits,) = values
        if type(bits) is not int:
            raise TypeError("combined flags are an int")
        if not reader.trusted and not shape.makes_members_without_code():
            raise UntrustedEntry(f"enum {shape.cls.__qualname__}", "it combines flags with code of its own")
        return shape.cls(bits)
    member = enum_member(shape.cls, name)
    if member is not None:
        if not values:
            return member
        (value,) = values
        now = object.__getattribute__(member, "_value_")
        # Of one leaf type, so that the comparison is the interpreter's own.
        if type(value) is type(now) and type(value) in LEAVES and value == now:
            return member
    raise MalformedObject("plain value", f"enum {shape.cls.__qualname__} has no such member any more")


NODES: dict[int, RaiseNode] = {
    tags.CLASS: _raise_class,
    tags.INSTANCE: _raise_instance,
}
