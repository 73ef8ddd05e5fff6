"""The values that a function captured or was given as attributes, as far as its result can depend on them."""

from __future__ import annotations

import sys

from .code import likely_node
from .effects import VALUE, roles
from .nodes import Raw
from .sinks import counts
from .tags import encode_str, typed

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Callable, Sequence
    from types import CellType, CodeType, FunctionType

    from .effects import Role

    Watched = list[tuple[str, Role, CellType]]  # name, role, cell

_EMPTY = Raw(typed("empty", ()))  # a variable that is not assigned yet
_MODULE = type(sys)

# Roles per code object (by id, which the kept object holds fixed).
_roles: dict[int, tuple[CodeType, dict[str, Role]]] = {}
_MOST = 10_000


def watched_cells(function: FunctionType) -> Watched:
    """The captured variables of a plain function that may count, with their roles. Read their values at each
    call.
    """
    cells = function.__closure__
    if not cells:
        return []
    code = function.__code__
    known = _roles.get(id(code))
    if known is None:
        if len(_roles) >= _MOST:
            _roles.clear()
        known = _roles[id(code)] = (code, _roles_of(function))
    # ``__class__`` (of super()) is the class that the method stands in, which the function's own name says
    return [
        (name, known[1].get(name, VALUE), cell)
        for name, cell in zip(code.co_freevars, cells, strict=True)
        if name != "__class__"
    ]


def _roles_of(function: FunctionType) -> dict[str, Role]:
    node = likely_node(function)
    if node is None:
        return {}  # no proved source: everything counts
    import ast

    names = frozenset(function.__code__.co_freevars)

    def root(item: ast.AST) -> str | None:
        return item.id if isinstance(item, ast.Name) and item.id in names else None

    body: list[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else [*node.body]
    return roles(body, root)


def values_of(watched: Watched) -> dict[str, object]:
    """Name -> value now, of the variables that count. Modules are named; locks, loggers and threads are left
    out, and so is what the function only puts something into.
    """
    values: dict[str, object] = {}
    for name, role, cell in watched:
        try:
            value = cell.cell_contents
        except ValueError:
            values[name] = _EMPTY
            continue
        if not counts(role, value):
            continue
        if type(value) is _MODULE:
            value = Raw(typed("module", (encode_str(str(vars(value).get("__name__"))),)))
        values[name] = value
    return values


def values_reader(function: FunctionType, ignore: frozenset[str]) -> Callable[[], dict[str, object]] | None:
    """What gives name -> value now, less the ignored names; None if the function captured nothing that may
    count.
    """
    watched = [cell for cell in watched_cells(function) if cell[0] not in ignore]
    return (lambda: values_of(watched)) if watched else None


def readers_of(
    layers: Sequence[FunctionType], ignore: frozenset[str]
) -> list[tuple[str, Callable[[], dict[str, object]], object]]:
    """Of each layer of a decorated function (the outermost first) that captured something: a suffix for
    names, what reads the values, and the layer below.
    """
    found = []
    below: object = None
    for level, layer in enumerate(reversed(layers)):
        read = values_reader(layer, ignore)
        if read is not None:
            found.append((f"@{level}" if level else "", read, below))
        below = layer
    return found


def captured_values(function: FunctionType) -> dict[str, object]:
    """Name -> value now, of the captured variables of a plain function that count."""
    return values_of(watched_cells(function))


def attributes_of_function(function: FunctionType) -> dict[str, object]:
    """Name -> value of the attributes that a plain function was given, less those that it only changes for
    effect (``step.calls += 1``). What Python and decorators note there has names with two underscores, and
    what ``functools.wraps`` copied is of the function inside.
    """
    if not vars(function) or _is_dispatching(function):
        return {}
    inside = getattr(vars(function).get("__wrapped__"), "__dict__", {})
    own = {
        name: value
        for name, value in [*vars(function).items()]
        if not f"{name}".startswith("__") and not (name in inside and inside[name] is value)
    }
    if not own:
        return own
    node = likely_node(function)
    if node is None:
        return {name: value for name, value in own.items() if counts(VALUE, value)}
    import ast

    def root(item: ast.AST) -> str | None:
        if not isinstance(item, ast.Attribute) or item.attr not in own:
            return None
        owner = item.value
        return item.attr if isinstance(owner, ast.Name) and owner.id == function.__name__ else None

    used = roles([node.body] if isinstance(node, ast.Lambda) else [*node.body], root)
    return {name: value for name, value in own.items() if counts(used.get(name, VALUE), value)}


def dispatch_registry(function: FunctionType) -> dict[type, object] | None:
    """Class -> function of the ``dispatch`` that a function made by ``functools.singledispatch`` captured and
    offers: that is all it does. None of any other function.
    """
    if not _is_dispatching(function) or function.__code__.co_name != "dispatch":
        return None
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    return dict(cells["registry"].cell_contents) if "registry" in cells else None


def _is_dispatching(function: FunctionType) -> bool:
    """Whether a function is one of those that ``functools.singledispatch`` makes."""
    made = function.__code__.co_qualname.startswith("singledispatch.<locals>.")
    return made and function.__globals__.get("__name__") == "functools"
