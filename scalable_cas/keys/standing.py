"""What a cached function brings along to each of its calls, where it is itself a value.

Its name stands for its code; but two closures of one name that captured other values, or two partials, give
other results. What they hold is part of the keys of their calls, so it is part of them as values too.
"""

from __future__ import annotations

import sys

from .encode import encode
from .identity import cached_identity, owner_of, unbound
from .nodes import Fields, Raw, Refused, typed_node
from .tags import encode_str, typed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .call import CallKeyer
    from .nodes import Node


def of_cached(wrapper: Any) -> Node | None:
    """The node of a cached function: its identity, and what it holds if it holds anything; None of any other
    function.
    """
    identity = cached_identity(wrapper)
    if identity is None:
        return None
    held = held_by(wrapper)
    return typed_node("cached", (identity, Fields(held)) if held else (identity,))


def held_by(wrapper: Any) -> dict[str, object]:
    """Name -> value of what a cached function was made with: defaults, arguments of a partial, what it is
    bound to, and what it captured.
    """
    keyer: CallKeyer | None = getattr(wrapper, "__scalable_keyer__", None)
    if keyer is None:
        return {}
    held: dict[str, object] = {
        f"default {name}": _default(name, value)
        for name, value in keyer.parameters.defaults_by_name().items()
        if name not in keyer.ignore
    }
    function, level = keyer.function, 0
    partial = getattr(sys.modules.get("functools"), "partial", None)
    while (inner := unbound(function)) is not None:
        if partial is not None and isinstance(function, partial):
            held[f"partial {level}"] = (function.args, function.keywords)
            level += 1
        function = inner
    owner = owner_of(keyer.function)
    if owner is not None:
        held["self"] = owner
    for name, value in keyer.captured():
        if value is not wrapper:  # it calls itself
            held[f"captured {name}"] = value
    return held


def _default(name: str, value: object) -> object:
    """A default; of one that has no encoding its place says all, as in a call."""
    try:
        encode(value)
    except Refused as error:
        if not error.path:
            return Raw(typed("default", (encode_str(name),)))
    return value
