"""Which classes have instances that are nothing but their named parts, and where those parts are.

Foreign bytes may name any class, so an instance must be readable and buildable without running what the class
defines (DESIGN 9): no `__new__`, `__init__`, `__post_init__`, `__setattr__`, no property. So a class is
looked at through `type`'s own attributes, and fields are read from and written to the instance's dict or
slots directly. A class with its own pickling, its own `__new__`, a finalizer or state outside its fields has
no shape.
"""

from __future__ import annotations

import sys
from abc import ABCMeta

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType
    from typing import Any

ENUM, NAMED_TUPLE, DATACLASS = 0, 1, 2

#: A class that defines one of these decides itself how its instances are copied or ended.
_OWN_COPYING = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs_ex__", "__del__")
_HEAP_TYPE = (
    1 << 9
)  # Py_TPFLAGS_HEAPTYPE: set for what a `class` statement made, unset for the interpreter's own

_namespace_of = type.__dict__["__dict__"].__get__
_order_of = type.__dict__["__mro__"].__get__


class Shape:
    """What the codec needs to know of a class.

    `names` are the fields in declared order. `slots` holds the descriptors of those that lie in slots,
    `attributes` the descriptor of the instance's `__dict__` or `None`. `counts` is true if two references to
    one instance can be told from references to two equal ones.
    """

    __slots__ = ("attributes", "cls", "counts", "kind", "names", "slots")

    def __init__(self, cls: type, kind: int, names: tuple[str, ...] = ()) -> None:
        self.cls = cls
        self.kind = kind
        self.names = names
        self.slots: dict[str, Any] = {}
        self.attributes: Any = None
        self.counts = False

    def hashes_without_code(self) -> bool:
        """Whether hashing and comparing instances runs nothing that the class defines."""
        for name in ("__hash__", "__eq__"):
            owner = next(_owners(self.cls, name))
            if owner.__flags__ & _HEAP_TYPE and owner.__module__ != "enum":
                return False
        return True

    def makes_members_without_code(self) -> bool:
        """Whether a combination of this enum's flags can be made without running what the class defines."""
        owner = next(_owners(self.cls, "_missing_"))
        return owner.__module__ == "enum" and _namespace_of(self.cls)["_member_type_"] in (object, int)


def find(module: ModuleType, qualname: str) -> object | None:
    """Return what `qualname` names in a module, without running a module's or a class's `__getattr__`; else
    `None`.
    """
    found: object = None
    namespace = object.__getattribute__(module, "__dict__")
    for name in qualname.split("."):
        found = namespace.get(name)
        namespace = _namespace_of(found) if issubclass(type(found), type) else {}
    return found


def enum_member(cls: type, name: str) -> Any:
    """Return the member of this name, or `None`: no member of an enum is `None`."""
    return _namespace_of(cls)["_member_map_"].get(name)


def shape_of(cls: object) -> Shape | None:
    """Return the shape of an enum, a named tuple class or a dataclass; `None` for everything else, and for
    classes whose instances are more than their parts.
    """
    enum = sys.modules.get("enum")
    if enum is not None and type(cls) is enum.EnumMeta:
        return Shape(cls, ENUM)  # type: ignore[arg-type]  # it is a class, as an instance of a metaclass
    # A metaclass of the user's own can do anything at any access.
    if not isinstance(cls, type) or type(cls) not in (type, ABCMeta):
        return None
    import copyreg

    if cls in copyreg.dispatch_table or any(_of_user(cls, name) for name in _OWN_COPYING):
        return None
    if tuple in _order_of(cls):
        return _named_tuple(cls)
    return _dataclass(cls) if "__dataclass_fields__" in _namespace_of(cls) else None


def _named_tuple(cls: type) -> Shape | None:
    if not all(any(_owners(cls, name)) for name in ("_fields", "_make", "_field_defaults", "__getnewargs__")):
        return None
    names = _namespace_of(next(_owners(cls, "_fields")))["_fields"]
    if type(names) is not tuple or not all(type(name) is str for name in names):
        return None
    shape = Shape(cls, NAMED_TUPLE, names)
    return shape if _find_attributes(shape) else None


def _dataclass(cls: type) -> Shape | None:
    import dataclasses

    if any(_of_user(cls, name) for name in ("__getnewargs__", "__new__")):
        return None
    namespace = _namespace_of(cls)
    a_field = dataclasses._FIELD  # type: ignore[attr-defined]  # noqa: SLF001  # as against ClassVar and InitVar
    fields = namespace["__dataclass_fields__"]
    names = tuple(name for name, field in fields.items() if field._field_type is a_field)  # noqa: SLF001
    shape = Shape(cls, DATACLASS, names)
    parameters = namespace["__dataclass_params__"]
    shape.counts = not (parameters.frozen and parameters.eq)
    try:
        object.__new__(cls)
    except (
        TypeError
    ):  # it is made by a base written in C that has state of its own, such as Exception or dict
        return None
    return shape if _find_slots(shape) and _find_attributes(shape) else None


def _find_slots(shape: Shape) -> bool:
    from types import MemberDescriptorType

    for owner in reversed(
        _order_of(shape.cls)
    ):  # so that the most derived class has the last word, as in look-up
        for name, member in _namespace_of(owner).items():
            if type(member) is MemberDescriptorType:
                shape.slots[name] = member
    return shape.slots.keys() <= set(shape.names)


def _find_attributes(shape: Shape) -> bool:
    from types import GetSetDescriptorType

    owner = next(_owners(shape.cls, "__dict__"), None)
    if owner is not None:
        shape.attributes = _namespace_of(owner)["__dict__"]
    return owner is None or type(shape.attributes) is GetSetDescriptorType


def _owners(cls: type, name: str) -> Iterator[type]:
    """Yield the classes that define `name`, in the order in which look-up asks them."""
    return (owner for owner in _order_of(cls) if name in _namespace_of(owner))


def _of_user(cls: type, name: str) -> bool:
    """Whether `name` is defined by other than the interpreter, or by `dataclass(slots=True)`, which copies as
    we do.
    """
    owner = next(_owners(cls, name), None)
    if owner is None or not owner.__flags__ & _HEAP_TYPE:
        return False
    return getattr(_namespace_of(owner)[name], "__module__", None) != "dataclasses"
