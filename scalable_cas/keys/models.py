"""Models of pydantic 2: class, fields, extra fields, private attributes.

Which fields were set by hand does not count, as in their ``==``. A model that others cannot find by its name
(local, or typed into a notebook) is also its methods and the definitions of its fields: they convert and
check what is assigned.
"""

from __future__ import annotations

from .callables import class_part
from .nodes import Fields, typed_node
from .objects import attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .nodes import Decompose, Node, Walk


def model_handler(kind: type) -> Decompose:
    """What takes instances of one class of models apart."""
    part = class_part(kind)

    def decompose(value: Any, _: Walk) -> Node:
        state = attributes(value, kind)
        state.pop("__pydantic_fields_set__", None)
        for name in ("__pydantic_extra__", "__pydantic_private__"):
            if state.get(name) is None:  # not there, or never set: model_construct leaves either
                state.pop(name, None)
        return typed_node("pydantic", (part, Fields(state)))

    return decompose


def definitions(kind: Any) -> dict[str, object]:
    """The fields of a model as they were written: type, default, and constraints."""
    from pydantic_core import PydanticUndefined

    return {
        name: (
            _annotation(field.annotation),
            () if field.default is PydanticUndefined else (field.default,),
            field.default_factory,
            (field.alias, field.frozen, field.init, field.exclude, field.validate_default),
            [*field.metadata],
        )
        for name, field in kind.__pydantic_fields__.items()
    }


def _annotation(annotation: Any) -> object:
    """A type, or what ``typing`` made of types, by its name and parts."""
    inner = getattr(annotation, "__args__", None)
    if isinstance(annotation, type) or not isinstance(inner, tuple):
        return annotation
    name = f"{getattr(annotation, '__origin__', None) or type(annotation).__name__}"
    return name, tuple(_annotation(part) for part in inner)
