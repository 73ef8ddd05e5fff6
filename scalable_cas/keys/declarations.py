"""What classes declare that their attributes do not show: members of an enum, fields of a dataclass or an
attrs class, and how their decorators were called.
"""

from __future__ import annotations

import sys

from .nodes import Fields
from .sinks import is_idle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# What a decorator or a field says if nothing else is said. Only what differs from it counts.
_CLASS_DEFAULTS = {
    **dict.fromkeys(("init", "repr", "eq"), True),
    **dict.fromkeys(("order", "unsafe_hash", "frozen"), False),
}
_FIELD_DEFAULTS = {
    **dict.fromkeys(("init", "repr", "compare"), True),
    "hash": None,
    "kw_only": False,
}
_ATTRS_DEFAULTS = {
    **dict.fromkeys(("init", "repr", "eq"), True),
    **dict.fromkeys(("converter", "validator", "hash"), None),
    "kw_only": False,
}


class _Slotted:
    __slots__ = ("slot",)


_SLOT = type(vars(_Slotted)["slot"])


def declared(kind: type) -> dict[str, object]:
    """What a local class declares: the members of an enum with their values, the fields of a dataclass or an
    attrs class with their defaults and factories, and the switches of both.
    """
    own = vars(kind)
    found: dict[str, object] = {}
    members = own.get("_member_map_")
    if isinstance(members, dict):
        values = {name: member._value_ for name, member in members.items()}
        found["_member_map_"] = Fields(
            {name: item for name, item in values.items() if not is_idle(type(item))}
        )
    fields = own.get("__dataclass_fields__")
    if isinstance(fields, dict) and "__pydantic_fields__" not in own:  # pydantic's are in the content
        missing = sys.modules["dataclasses"].MISSING
        found["__dataclass_fields__"] = [
            (name, *(() if way is missing else (way,) for way in (field.default, field.default_factory)))
            for name, field in fields.items()
        ]
    attributes = own.get("__attrs_attrs__")
    if isinstance(attributes, tuple):
        found["__attrs_attrs__"] = [(item.name, attrs_default(item)) for item in attributes]
    found.update(switches(own))
    named = {*(own.get("__dataclass_fields__") or ()), *(item.name for item in attributes or ())}
    slots = sorted(name for name, item in own.items() if type(item) is _SLOT and name not in named)
    if slots:
        found["__slots__"] = slots
    return found


def attrs_default(item: Any) -> tuple[object, ...]:
    """The default of a field of attrs, or its factory, in a tuple; an empty one if it has none."""
    nothing = sys.modules["attr"].NOTHING
    return () if item.default is nothing else (getattr(item.default, "factory", item.default),)


def switches(own: Mapping[str, Any]) -> dict[str, object]:
    """How a dataclass and its fields, or the fields of an attrs class, were declared, where that is not as
    usual: ``order=True``, ``field(compare=False)``, a converter.
    """
    found: dict[str, object] = {}
    fields, params = own.get("__dataclass_fields__"), own.get("__dataclass_params__")
    if isinstance(fields, dict) and "__pydantic_fields__" not in own:
        said = [("", *said) for said in _unusual(params, _CLASS_DEFAULTS)]
        said += [(name, *said) for name, field in fields.items() for said in _unusual(field, _FIELD_DEFAULTS)]
        if said:
            found["__dataclass_params__"] = said
    attributes = own.get("__attrs_attrs__")
    if isinstance(attributes, tuple):
        said = [(item.name, *said) for item in attributes for said in _unusual(item, _ATTRS_DEFAULTS)]
        if said:
            found["attrs fields"] = said
    return found


def _unusual(said: Any, usual: dict[str, Any]) -> list[tuple[str, object]]:
    pairs = [(name, getattr(said, name, default)) for name, default in usual.items()]
    return [(name, value) for name, value in pairs if value is not usual[name]]
