"""Names of functions and classes that are the same in a script, under ``-m``, when imported, and in a spawned
worker; and what of a callable is an input besides its arguments.
"""

from __future__ import annotations

import os
import sys

from scalable_cas.modules import MAIN_NAMES, canonical_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any


_FUNCTION = type(lambda: None)


class _Probe:
    def method(self) -> None:
        """Only its type is wanted."""


#: The type of bound methods.
METHOD: Any = type(_Probe().method)


def definition(function: Any) -> Any:
    """The plain function behind partials and other decorators; the object itself where there is none.

    It is where the source and the running script are found; the *name* is that of the outermost
    (``functools.wraps`` copies it).
    """
    seen: set[int] = set()
    while id(function) not in seen:
        seen.add(id(function))
        inner = getattr(function, "__wrapped__", None) or unbound(function)
        if inner is None:
            break
        function = inner
    return function


def unbound(function: Any) -> Any:
    """The function in a partial or a bound method; None for others, whose attributes may mean anything."""
    if isinstance(function, METHOD):
        return function.__func__
    partial = getattr(sys.modules.get("functools"), "partial", None)
    return function.func if partial and isinstance(function, partial) else None


def module_of(function: Any) -> str:
    """The canonical module of a function; "" if it has none."""
    name = getattr(function, "__module__", None)
    if not isinstance(name, str):
        return ""
    if name not in MAIN_NAMES:
        return name
    code = getattr(definition(function), "__code__", None)
    return canonical_module(name, code.co_filename if code is not None else None)


def function_name(function: Any) -> str:
    """``module:qualname``; of an object that can be called, that of its class."""
    if isinstance(function, type):
        return class_name(function)
    qualname = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    return f"{module_of(function)}:{qualname}" if qualname else class_name(type(function))


def class_name(kind: type) -> str:
    """``module:qualname``."""
    module: Any = kind.__module__
    if not isinstance(module, str):  # a class made by hand, or a property of its metaclass
        return f":{kind.__qualname__}"
    if module.startswith("pathlib."):  # 3.13 moved its classes to pathlib._local, 3.14 moved them back
        module = "pathlib"
    return f"{canonical_module(module, _file_of(kind, module))}:{kind.__qualname__}"


def _file_of(kind: type, module: str) -> str | None:
    """The file of a script's class, as its first method tells: a profiler runs a script in its own
    ``__main__``.
    """
    if module in MAIN_NAMES:
        for item in vars(kind).values():
            name = getattr(getattr(item, "__code__", None), "co_filename", None)
            own = getattr(item, "__module__", None) == module and not hasattr(item, "__wrapped__")
            if own and isinstance(name, str) and not name.startswith("<"):
                return name
    return None


def has_file(code: CodeType, module: str | None) -> bool:
    """Whether code comes from a file that everybody finds under its module's name.

    Not so: the prompt, ``-c``, a notebook, ``exec`` of a text. There a name says nothing: each cell may
    define it anew. A module whose source is not installed (only .pyc, or in a zip) has a file all the same.
    """
    name = code.co_filename
    if name.startswith("<"):
        return name.startswith("<frozen")
    if os.path.isfile(name):
        return True
    if module is None or module in MAIN_NAMES:
        return False
    return getattr(sys.modules.get(module), "__spec__", None) is not None


_HEAP_TYPE, _IMMUTABLE = 1 << 9, 1 << 8  # of type.__flags__: made at run time; made by C for good


def is_everywhere(kind: type) -> bool:
    """Whether a class can be found by its name in any process: not a local one, nor one typed into a
    notebook, nor one made by a call (``type``, ``make_dataclass``, ``Enum``) that its module does not have by
    that name.
    """
    name, module = kind.__qualname__, kind.__module__
    if "<locals>" in name:
        return False
    if module in MAIN_NAMES and canonical_module(module, _file_of(kind, module)) == "__main__":
        return False
    if not kind.__flags__ & _HEAP_TYPE or kind.__flags__ & _IMMUTABLE:
        return True
    if _resolved(vars(sys.modules[module]) if module in sys.modules else {}, name) is kind:
        return True
    return _is_of_its_globals(kind)


def _resolved(space: dict[str, Any], qualname: str) -> Any:
    """What a qualified name stands for in a module; None if nothing."""
    first, *rest = qualname.split(".")
    found = space.get(first)
    if found is None and "__getattr__" in space:  # a module that loads its parts when asked
        found = getattr(sys.modules.get(space.get("__name__", "")), first, None)
    owner = first
    for name in rest:
        if not isinstance(found, type):
            return None
        private = name.startswith("__") and not name.endswith("__")
        found = vars(found).get(f"_{owner.lstrip('_')}{name}" if private else name)
        owner = name
    return found


def _is_of_its_globals(kind: type) -> bool:
    """Whether the globals of a class's own methods have it by its name, where the module of that name is not
    theirs: under a profiler or runpy, in a plugin that ``sys.modules`` does not know.
    """
    for item in vars(kind).values():
        code, space = getattr(item, "__code__", None), getattr(item, "__globals__", None)
        own = code is not None and code.co_qualname == f"{kind.__qualname__}.{code.co_name}"
        if own and isinstance(space, dict):
            return _resolved(space, kind.__qualname__) is kind
    return False


def is_cached(function: Any) -> bool:
    """Whether a function is a cached one.

    ``functools.wraps`` copies every attribute to the wrapper, so a decorator *above* ``cacheable`` carries
    the identity too, and may do anything to the result. The function that is really the cache is of this
    package.
    """
    home = getattr(function, "__globals__", {}).get("__name__", "")
    ours = home.partition(".")[0] == __name__.partition(".")[0]
    return ours and getattr(function, "__scalable_identity__", None) is not None


def cached_identity(function: Any) -> bytes | None:
    """The identity and version of a cached function; None of any other."""
    if not is_cached(function):
        return None
    identity: Any = function.__scalable_identity__
    known: bytes = identity() if callable(identity) else identity  # with ``_code=``, made when asked for
    return known


def known_as_of(function: Any) -> tuple[str, str | None]:
    """``module:qualname``, and the fingerprint of the code where the name does not tell functions apart."""
    inner = definition(function)
    code = getattr(inner, "__code__", None)
    name = function_name(function if hasattr(function, "__qualname__") else inner)
    if code is None or not isinstance(inner, _FUNCTION):
        return name, None
    if inner.__name__ != "<lambda>" and has_file(code, inner.__module__):
        return name, None
    from .code import fingerprint

    return name, fingerprint(inner)  # type: ignore[arg-type]


def owner_of(function: Any) -> object | None:
    """What a function is bound to, or a callable instance itself: it is an input like any other. None for
    functions.
    """
    while (inner := unbound(function)) is not None and not hasattr(function, "__self__"):
        function = inner
    own = getattr(function, "__self__", None)
    if own is not None:
        return None if isinstance(own, type(sys)) else own
    # What has a name of its own is a function in some form (C, numba, lru_cache); what has none is an object
    # of a class.
    return None if hasattr(function, "__qualname__") or hasattr(function, "__name__") else function


def capturing_layers(function: Any) -> list[Any]:
    """The plain functions that captured something, outermost first: the function, and what it wraps by
    ``functools.wraps``.
    """
    while (inner := unbound(function)) is not None:
        function = inner
    layers: list[Any] = []
    while function is not None and function not in layers:
        cached = is_cached(function)
        if layers and cached:
            break  # a cached function of its own
        if isinstance(function, _FUNCTION) and not cached:  # what is cached twice captured nothing more by it
            layers.append(function)
        function = getattr(function, "__wrapped__", None)
    return layers if any(layer.__closure__ for layer in layers) else []
