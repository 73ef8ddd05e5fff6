"""``ObjectType``: an object taken apart by its own ``__reduce_ex__(4)``, each part encoded canonically.

Never the bytes of pickle: they depend on sharing, on interned strings and on the order of sets.
The user chose this by name for one argument, so running the object's pickling methods is what was asked for.
"""

from __future__ import annotations

from .nodes import Refused, typed_node
from .refusals import full_name, reason_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .nodes import Node


def of_reduced(value: Any, kind: type) -> Node:
    """The node of an object by what ``copyreg`` would need to build it again.

    Raises:
        Refused: the object cannot be reduced.
    """
    if kind is object:
        raise Refused(reason_for(kind))
    try:
        reduced = value.__reduce_ex__(4)
    except (TypeError, AttributeError) as error:  # what "cannot pickle" is, in C and in Python
        raise Refused(reason_for(kind)) from error
    if isinstance(reduced, str):
        return typed_node("global", (kind, reduced))
    if not isinstance(reduced, tuple) or not 2 <= len(reduced) <= 6:
        raise Refused(f"type {full_name(kind)}: its __reduce_ex__ breaks the pickle protocol")
    function, arguments, state, items, pairs, setter = (*reduced, None, None, None, None)[:6]
    parts = (
        kind,
        _by_name(function),
        arguments,
        state,
        None if items is None else [*items],
        None if pairs is None else [*pairs],
        None if setter is None else _by_name(setter),
    )
    return typed_node("reduced", parts)


def _by_name(function: Any) -> object:
    """The rebuilding function by its name: it is part of the pickle format of the class, not of the value."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if isinstance(module, str) and isinstance(name, str) and "<locals>" not in name:
        return f"{module}:{name}"
    return function
