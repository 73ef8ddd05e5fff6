"""The code of a decorated function itself: what ``_code="self"`` puts into the key, and what is kept with
each entry so that a later hit can tell whether other code produced it.

A function decorated below ``cacheable`` is several *layers*: wrappers made by ``functools.wraps``, and the
function inside. Of the wrappers those of the user's own code count; a library's, like all of its code, is
known by no fingerprint. Captured functions are in the key of every function already.
"""

from __future__ import annotations

import os
import sys

from blake3 import blake3

from .code import bytecode_fingerprint, fingerprint, is_rewritten, quick_fingerprint
from .encode import encode
from .identity import is_cached, unbound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, FunctionType
    from typing import Any

_FUNCTION = type(lambda: None)
_LIBRARIES = tuple(
    sorted({os.path.dirname(os.path.abspath(os.__file__)), os.path.dirname(os.path.realpath(os.__file__))})
)
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def is_user_file(name: str) -> bool:
    """Whether a source file is the user's own: not of the standard library, nor of an installed package, nor
    of this one. An editable install is the user's own, and so are notebooks and the prompt. Where the
    program was started does not matter.
    """
    if name.startswith("<"):
        return not name.startswith("<frozen")
    parts = name.replace("\\", "/").split("/")
    if "site-packages" in parts or "dist-packages" in parts:
        return False
    return not any(name.startswith(folder + os.sep) for folder in (*_LIBRARIES, _PACKAGE))


def layers(function: Any) -> list[FunctionType]:
    """The plain functions that count as a function's own code, outermost first; none for a function in C. Of
    an object that can be called, those of its class's ``__call__``.
    """
    while (inner := unbound(function)) is not None:
        function = inner
    if not isinstance(function, _FUNCTION) and not hasattr(function, "__wrapped__"):
        function = vars(type(function)).get("__call__")
    found: list[FunctionType] = []
    seen: set[int] = set()
    while function is not None and id(function) not in seen:
        seen.add(id(function))
        if found and is_cached(function):
            break  # a cached function of its own
        if isinstance(function, _FUNCTION):
            found.append(function)  # type: ignore[arg-type]
        function = getattr(function, "__wrapped__", None)
    return [layer for layer in found[:-1] if is_user_file(layer.__code__.co_filename)] + found[-1:]


def own_code(function: Any) -> str | None:
    """What ``_code="self"`` puts into the key; None for a function in C, whose code nobody sees."""
    prints: list[object] = [fingerprint(layer) for layer in layers(function)]
    return f"self:{blake3(encode(prints)).hexdigest()}" if prints else None


def code_forms(function: Any) -> tuple[str, ...]:
    """The fingerprints to be kept with an entry: the one of the bytecode, and where the source can be proved
    cheaply that of its syntax. None of them if the code is not known or a tool rewrote it.
    """
    return known_forms(*(layer.__code__ for layer in layers(function)))


def known_forms(*codes: CodeType) -> tuple[str, ...]:
    """As `code_forms`, of the code of all layers."""
    compiled = _compiled_form(codes)
    if compiled is None:
        return ()
    written: list[object] = [quick_fingerprint(code) for code in codes]
    return (compiled,) if None in written else (compiled, _joined("ast1", written))


def compiled_form(function: Any) -> str | None:
    """The first of the `code_forms`, which needs no source."""
    return _compiled_form([layer.__code__ for layer in layers(function)])


def _compiled_form(codes: Sequence[CodeType]) -> str | None:
    if not codes or any(is_rewritten(code) for code in codes):
        return None
    prints: list[object] = [bytecode_fingerprint(code) for code in codes]
    return _joined(f"{prints[0]}".partition(":")[0], prints)


def _joined(kind: str, prints: list[object]) -> str:
    return f"{prints[0]}" if len(prints) == 1 else f"{kind}:{blake3(encode(prints)).hexdigest()}"


def is_other_code(stored: Sequence[str], now: Sequence[str]) -> bool:
    """Whether two functions, by their `code_forms`, are known to be different. The syntax decides where both
    have it: a docstring changes the bytecode, and so does another Python. What is unknown is not different.
    """
    ours = {form.partition(":")[0]: form for form in now}
    theirs = {form.partition(":")[0]: form for form in stored}
    for kind in ("ast1", *ours):
        if kind in ours and kind in theirs:
            return ours[kind] != theirs[kind]
    return False


def is_user_module(module: Any) -> bool:
    """Whether a module is the user's own; the prompt and notebooks are."""
    name = getattr(module, "__file__", None)
    if isinstance(name, str):
        return is_user_file(os.path.abspath(name))
    if vars(module).get("__name__") == "__main__":
        return True
    path = [*getattr(module, "__path__", ())]  # a namespace package
    return bool(path) and is_user_file(f"{path[0]}/")


def is_user_class(kind: type) -> bool:
    """Whether a class is the user's own."""
    module = sys.modules.get(kind.__module__)
    return is_user_module(module) if module is not None else kind.__module__ != "builtins"
