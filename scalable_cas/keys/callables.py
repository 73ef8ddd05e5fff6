"""Functions, classes and their like as values: what they are is what they do.

A function passed as an argument is its name, its code, its defaults, what it captured, and the attributes
that it was given. A class is its name; one that others cannot find by its name (local, or typed into a
notebook) is also its methods.
"""

from __future__ import annotations

import sys

from .captured import attributes_of_function, captured_values, dispatch_registry
from .code import fingerprint, verified_node
from .declarations import declared
from .effects import VALUE, roles
from .identity import class_name, function_name, is_everywhere, module_of
from .nodes import Fields, Raw, Refused, typed_node
from .sinks import counts, is_idle
from .standing import of_cached
from .tags import encode_str, typed

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from types import FunctionType
    from typing import Any

    from .nodes import Node, Walk
    from .registry import Handlers

_FUNCTION = type(lambda: None)
_BUILTIN = type(len)


# --- functions ---------------------------------------------------------------------------------------------


def of_function(function: FunctionType, _: Walk) -> Node:
    """A plain function: name, code, defaults, captured values. A cached one: identity and what it holds."""
    cached = of_cached(function)
    if cached is not None:
        return cached
    registry = dispatch_registry(function)
    if registry is not None:
        return typed_node("singledispatch", (registry,))
    local = "<locals>" in function.__qualname__ or function.__name__ == "<lambda>"
    # A local function's name says little, its module says which globals it sees.
    name = f"{module_of(function)}:" if local else function_name(function)
    parts = (
        name,
        fingerprint(function),
        function.__defaults__,
        None if function.__kwdefaults__ is None else Fields(function.__kwdefaults__),
        Fields(captured_values(function)),
    )
    added = attributes_of_function(function)
    return typed_node("function", (*parts, Fields(added)) if added else parts)


def _of_method(method: Any, _: Walk) -> Node:
    return typed_node("method", (method.__self__, method.__func__))


def _of_builtin(function: Any, _: Walk) -> Node:
    """A function in C: its name, and the object that it is bound to, if any."""
    owner = function.__self__
    if owner is None or isinstance(owner, type(sys)):
        return typed_node("builtin", (f"{function.__module__}:{function.__qualname__}",))
    return typed_node("builtin method", (owner, function.__name__))


def _of_slot(function: Any, _: Walk) -> Node:
    """``str.upper``, ``list.__len__``: a class and a name."""
    return typed_node("builtin", (f"{class_name(function.__objclass__)}.{function.__name__}",))


def builtin_callables() -> Handlers:
    """Those whose types say that they are of builtins, as most of the interpreter's own do."""
    import types

    slots = (types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType)
    return {}, {
        _FUNCTION: of_function,
        types.MethodType: _of_method,
        _BUILTIN: _of_builtin,
        types.MethodWrapperType: lambda value, _: typed_node(
            "builtin method", (value.__self__, value.__name__)
        ),
        **dict.fromkeys(slots, _of_slot),
        staticmethod: lambda value, _: typed_node("staticmethod", (value.__func__,)),
        classmethod: lambda value, _: typed_node("classmethod", (value.__func__,)),
        property: lambda value, _: typed_node("property", (value.fget, value.fset, value.fdel)),
    }


def types_callables() -> Handlers:
    """``list[int]`` and ``int | None`` as values."""
    import types

    return {}, {
        types.GenericAlias: lambda value, _: typed_node("alias", (value.__origin__, value.__args__)),
        types.UnionType: lambda value, _: typed_node("union", (frozenset(value.__args__),)),
    }


def typing_handlers() -> Handlers:
    """``Box[int]`` of a generic class, which its instances remember."""
    import typing

    def of_alias(value: Any, _: Walk) -> Node:
        origin = value.__origin__
        if not isinstance(origin, type) or origin.__module__ in (
            "builtins",
            "collections",
            "collections.abc",
        ):
            raise Refused("what typing makes of the interpreter's own types differs between versions")
        return typed_node("typing alias", (origin, value.__args__))

    generic: Any = typing.Generic
    return {}, {type(generic[typing.TypeVar("T")]): of_alias}


def functools_handlers() -> Handlers:
    """partial; cached_property and lru_cache as what they wrap."""
    import functools

    def of_partial(value: functools.partial[Any], _: Walk) -> Node:
        get = functools.partial.__dict__
        parts = tuple(get[name].__get__(value) for name in ("func", "args", "keywords"))
        added = {name: item for name, item in [*vars(value).items()] if not f"{name}".startswith("__")}
        return typed_node("partial", (*parts, Fields(added)) if added else parts)

    return {}, {
        functools.partial: of_partial,
        functools.cached_property: lambda value, _: typed_node("cached_property", (value.func,)),
        functools._lru_cache_wrapper: lambda value, _: typed_node("lru_cache", (value.__wrapped__,)),  # noqa: SLF001
    }


def operator_handlers() -> Handlers:
    """itemgetter, attrgetter, methodcaller, by what they were made of (their ``__reduce__`` is C and gives
    just that).
    """
    import operator

    def of(kind: Any) -> Any:
        def decompose(value: Any, _: Walk) -> Node:
            function, arguments, *_rest = kind.__reduce__(value)
            return typed_node("operator", (kind.__name__, () if function is kind else function, arguments))

        return decompose

    return {}, {kind: of(kind) for kind in (operator.itemgetter, operator.attrgetter, operator.methodcaller)}


# --- classes -----------------------------------------------------------------------------------------------

# Attributes of a class that Python or a decorator makes of the rest, and that differ between Python versions.
_MADE = frozenset(
    (
        *("__dict__", "__weakref__", "__module__", "__doc__", "__qualname__", "__annotations__", "__slots__"),
        *("__firstlineno__", "__static_attributes__", "__abstractmethods__", "_abc_impl", "__match_args__"),
        *(
            "__dataclass_fields__",
            "__dataclass_params__",
            "__attrs_attrs__",
            "__parameters__",
            "__orig_bases__",
        ),
        *("__type_params__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__slotnames__"),
        *(
            "__attrs_own_setattr__",
            "__attrs_props__",
            "__attrs_base_of_slotted__",
            "__hash__",
            "__classcell__",
        ),
        *("__class_vars__", "__private_attributes__", "__signature__"),  # pydantic's
    )
)


_GENERATORS = ("dataclasses", "attr._make", "attr._next_gen", "collections")
_ACCESS = ("member_descriptor", "_tuplegetter")  # of slots, of a namedtuple's fields


def _is_generated(function: FunctionType) -> bool:
    """Whether dataclass, attrs or namedtuple made this method of the fields. A class typed into a notebook
    has methods without a file too, which are its own.
    """
    code = function.__code__
    name = str(function.__globals__.get("__name__"))
    return (
        code.co_filename.startswith("<attrs generated")
        or (code.co_filename.startswith("<") and code.co_qualname.startswith("__create_fn__."))
        or name.startswith("namedtuple_")
        or function.__module__ in _GENERATORS
        or name in _GENERATORS
    )


# Where metaclasses come from that do nothing but what the class shows.
_USUAL_METAS = frozenset(("abc", "enum", "typing", "pydantic"))


def class_part(kind: type) -> object:
    """A class as the first part of each of its instances: encoded beforehand where it is its name only."""
    return Raw(typed("class", (encode_str(class_name(kind)),))) if is_everywhere(kind) else kind


def of_class(kind: type, _: Walk) -> Node:
    """A class as a value."""
    name = class_name(kind)
    if is_everywhere(kind):
        return typed_node("class", (name,))
    bases = tuple(base for base in kind.__bases__ if base is not object)
    parts = (name, Fields({**content(kind), **declared(kind)}), bases)
    meta = type(kind)
    usual = meta is type or meta.__module__.partition(".")[0] in _USUAL_METAS
    return typed_node("class", parts if usual else (*parts, meta))


def content(kind: type) -> dict[str, object]:
    """What a local class does: its methods, and those of its attributes that no method changes for effect."""
    enum = sys.modules.get("enum")
    is_enum = enum is not None and issubclass(kind, enum.Enum)
    content: dict[str, object] = {}
    for name, item in vars(kind).items():
        if (
            name in _MADE
            or name.startswith("__pydantic_")
            or is_idle(type(item))
            or type(item).__name__ in _ACCESS
        ):
            continue
        code = getattr(item, "__code__", None)
        inner: Any = getattr(item, "__wrapped__", item)  # the __repr__ of a dataclass
        if name.startswith("_") and type(inner) is _FUNCTION and _is_generated(inner):  # type: ignore[arg-type]
            continue
        if is_enum and not (code is not None and item.__qualname__.startswith(f"{kind.__qualname__}.")):
            continue  # members are told apart by name and value; the rest is enum's own machinery
        content[name] = item
    for name in _only_for_effect(content):
        del content[name]
    if "__pydantic_fields__" in vars(kind):
        from .models import definitions

        content["__pydantic_fields__"] = Fields(definitions(kind))
    return content


def _only_for_effect(content: dict[str, object]) -> list[str]:
    """Attributes that the methods only change (``Model.runs += 1``): with them in the key nothing would ever
    hit.
    """
    nodes = []
    for item in content.values():
        function = getattr(item, "__func__", getattr(item, "fget", item))
        function = getattr(function, "__wrapped__", function)
        if isinstance(function, _FUNCTION):
            node = verified_node(function)  # type: ignore[arg-type]
            if node is not None:
                nodes.append(node)
    data = frozenset(name for name, item in content.items() if not callable(item))

    def root(item: ast.AST) -> str | None:
        name = getattr(item, "attr", None)
        return name if isinstance(name, str) and name in data else None

    return [
        name
        for name, role in roles([*nodes], root).items()
        if role is not VALUE and not counts(role, content[name])
    ]
