"""Names and parts: what the code of a function mentions, and what an object is made of. For deps.py."""

from __future__ import annotations

import sys

from .code import likely_node
from .effects import VALUE, roles
from .own import is_user_module
from .sinks import counts

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Iterable, Iterator
    from types import CodeType, FunctionType, ModuleType
    from typing import Any

    from .effects import Role

_FUNCTION = type(lambda: None)
_SLOT = type(vars(_FUNCTION)["__code__"])
_MEMBER = type(vars(type("", (), {"__slots__": ("slot",)}))["slot"])
_HEAP_TYPE = 1 << 9  # not set on the interpreter's own types
_MOST_PARTS = 1000  # items of a container that are looked into: a table of functions, not data


class Names:
    """The names in a function's code, inner functions included: ``globals``, ``attributes``, and ``imports``
    as (module, names wanted of it), all sorted. ``roles`` says how the globals are used, ``handed_on`` which
    are used otherwise than for an attribute: whoever gets a module so may want anything of it.
    """

    __slots__ = ("attributes", "globals", "handed_on", "imports", "roles")

    def __init__(self) -> None:
        self.handed_on: frozenset[str] = frozenset()
        self.globals: list[str] = []
        self.attributes: list[str] = []
        self.imports: list[tuple[str, tuple[str, ...]]] = []
        self.roles: dict[str, Role] = {}

    def counts(self, name: str, value: object) -> bool:
        """Whether a global can influence the result: the rule for captured variables."""
        return counts(self.roles.get(name, VALUE), value)


def names_of(function: FunctionType) -> Names:
    """What a function's code mentions, by its source if that can be had, else by its bytecode, which does not
    tell globals from attributes.
    """
    names = Names()
    used = sorted(_all_names(function.__code__))
    node = likely_node(function)
    if node is None:
        names.globals = names.attributes = used
        names.imports = [(name, ()) for name in used if name in sys.modules]
        return names
    import ast

    walked = [*ast.walk(node)]
    loaded = {item.id for item in walked if isinstance(item, ast.Name)}
    reached = {item.attr for item in walked if isinstance(item, ast.Attribute)}
    # annotations and the decorator are syntax too, but no names of the code
    names.globals = [name for name in used if name in loaded]
    names.attributes = sorted({name for name in used if name in reached} | set(_looked_up(walked)))
    named = {id(item.value) for item in walked if isinstance(item, ast.Attribute)}
    names.handed_on = frozenset(
        item.id for item in walked if isinstance(item, ast.Name) and id(item) not in named
    )
    names.imports = sorted(set(_imports(walked)))
    wanted = frozenset(names.globals)

    def root(item: ast.AST) -> str | None:
        return item.id if isinstance(item, ast.Name) and item.id in wanted else None

    body: list[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else [*node.body]
    names.roles = roles(body, root)
    return names


def _looked_up(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The names in ``getattr(module, "name")``."""
    import ast

    for item in nodes:
        if isinstance(item, ast.Call) and isinstance(item.func, ast.Name) and item.func.id == "getattr":
            name = getattr(item.args[1] if len(item.args) > 1 else None, "value", None)
            if type(name) is str:
                yield name


def _all_names(code: CodeType) -> set[str]:
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            found |= _all_names(constant)
    return found


def _imports(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, tuple[str, ...]]]:
    import ast

    for item in nodes:
        if isinstance(item, ast.Import):
            yield from ((alias.name, ()) for alias in item.names)
        elif isinstance(item, ast.ImportFrom):
            wanted = tuple(sorted(alias.name for alias in item.names))
            yield "." * item.level + (item.module or ""), wanted


def user_module(name: str, space: dict[str, Any]) -> ModuleType | None:
    """The user's module that ``import name`` means in a namespace, imported if need be; None for any other,
    and where there is none.
    """
    import importlib.util

    try:
        if name.startswith("."):
            package = space.get("__package__") or str(space.get("__name__")).rpartition(".")[0]
            name = importlib.util.resolve_name(name, package)
        first = name.partition(".")[0]
        top = sys.modules.get(first)
        if top is None and not _is_user_spec(importlib.util.find_spec(first)):
            return None
        if top is not None and not is_user_module(top):
            return None
        module = importlib.import_module(name)
    except (ImportError, ValueError):  # ValueError: a module without a spec, as a script has none
        return None
    return module if is_user_module(module) else None


def _is_user_spec(spec: Any) -> bool:
    from .own import is_user_file

    if spec is None:
        return False
    places = [*(spec.submodule_search_locations or ())] or [spec.origin]
    return bool(spec.has_location or places[0]) and is_user_file(f"{places[0]}/" if places[0] else "<frozen")


def inside(value: Any, *, is_users: bool) -> Iterator[tuple[str, Any]]:
    """What else is run where an object is used, as (label, part): functions in containers, in partials, in
    wrappers of other packages (``numpy.vectorize``); all attributes of an object of a user's class.
    """
    kind = type(value)
    if (kind is set or kind is frozenset) and len(value) <= _MOST_PARTS:
        yield from (("", part) for part in [*value])
    elif (kind is list or kind is tuple) and len(value) <= _MOST_PARTS:
        yield from ((f"{number}", part) for number, part in enumerate([*value]))
    elif kind is dict and len(value) <= _MOST_PARTS:
        yield from ((key if type(key) is str else "", part) for key, part in [*value.items()])
    if kind.__module__ in ("builtins", "functools"):
        own = ((name, getattr(value, name, None)) for name in _INSIDE)
        yield from ((name, part) for name, part in own if part is not None)
    for name, part in _held_in_c(kind, value):
        yield name, part
    for name, part in attributes_of(value).items():
        if is_users or type(part) is _FUNCTION:
            yield name, part


_INSIDE = ("func", "__func__", "__self__", "fget", "fset", "fdel", "args", "keywords")


def _held_in_c(kind: type, value: Any) -> Iterator[tuple[str, Any]]:
    """What a wrapper written in C holds (wrapt's, which answers to everything else for what it wraps)."""
    for name in ("__wrapped__", "_self_wrapper"):
        item: Any = next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)
        if type(item) is _SLOT:
            try:
                yield name, item.__get__(value)
            except ValueError:  # wrapt's word for a wrapper that was never filled
                continue


def attributes_of(value: Any) -> dict[str, Any]:
    """A copy of an object's own attributes, of its ``__dict__`` (if that is no property) and its slots:
    nobody's hook is run.
    """
    slots: dict[str, Any] = {}
    for kind in type(value).__mro__:
        for name, item in vars(kind).items():
            if type(item) is _MEMBER and kind.__flags__ & _HEAP_TYPE:
                try:
                    slots.setdefault(name, item.__get__(value))
                except AttributeError:  # never set
                    continue
    return {**slots, **_in_dict(value)}


def _in_dict(value: Any) -> dict[str, Any]:
    for kind in type(value).__mro__:
        descriptor = vars(kind).get("__dict__")
        if descriptor is not None:
            if type(descriptor) is not _SLOT:
                return {}
            space = descriptor.__get__(value)
            return dict(space) if type(space) is dict and len(space) <= _MOST_PARTS else {}
    return {}


def contents_of(kind: type) -> Iterator[tuple[str, Any, bool]]:
    """The attributes of a class that decide what it does: (name, item, whether its value counts)."""
    from .callables import content
    from .declarations import attrs_default, switches

    for name, item in content(kind).items():
        yield name, item, True
    members = vars(kind).get("_member_map_")
    if isinstance(members, dict):
        yield "_member_map_", {name: member._value_ for name, member in members.items()}, True
    fields = vars(kind).get("__dataclass_fields__")
    if isinstance(fields, dict):
        yield "__dataclass_fields__", [*fields], True
        for field in fields.values():
            if type(field.default_factory) in (_FUNCTION, type):
                yield "__dataclass_fields__", field.default_factory, True
    models = vars(kind).get("__pydantic_fields__")
    if isinstance(models, dict):
        for field in models.values():
            for part in (field.default_factory, *(getattr(item, "func", None) for item in field.metadata)):
                if type(part) in (_FUNCTION, type):
                    yield "__pydantic_fields__", part, True
    attributes = vars(kind).get("__attrs_attrs__")
    if isinstance(attributes, tuple):
        for field in attributes:
            yield f"__attrs_attrs__ {field.name}", attrs_default(field), True
    for name, said in switches(vars(kind)).items():
        yield name, said, True
