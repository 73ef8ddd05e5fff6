"""The options of `@cacheable`, checked once at decoration."""

from __future__ import annotations

import os

from scalable_cas import config
from scalable_cas.codecs.outputs import FILES, FOLDERS
from scalable_cas.keys.wrappers import DirType, FileType, GenericType
from scalable_cas.store.core import StoreCore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Seconds; a longer `_ttl` is as good as none.
LONGEST_TTL = 9e9
_GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x200  # flags of a code object (inspect.CO_*)


class Options:
    """What was asked for. ``limit`` is the age limit in ns or None; ``place`` a path, an open store or None;
    ``result`` the declared result type or None; ``output`` the codec of results that are paths ("file" or
    "dir"), or None; ``mapped``: arrays come back as memory maps.
    """

    __slots__ = (
        "cache_if",
        "check_output",
        "limit",
        "mapped",
        "output",
        "place",
        "recompute",
        "result",
        "store",
        "void",
    )

    def __init__(
        self,
        *,
        return_type: Any,
        void: bool,
        check_output: bool,
        recompute: bool,
        store: bool,
        ttl: Any,
        cache_if: Any,
        mmap: Any,
        place: Any,
    ) -> None:
        flags: tuple[tuple[str, Any], ...] = (
            ("void", void),
            ("check_output", check_output),
            ("recompute", recompute),
            ("store", store),
        )
        for name, flag in flags:
            if not isinstance(flag, bool):
                hint = "an argument of that name is declared in _arg_types"
                raise TypeError(f"{name} must be True or False, not {flag!r}; {hint}")
        if cache_if is not None and not callable(cache_if):
            raise TypeError("_cache_if must be a function of the result")
        if place is not None and not isinstance(place, (str, os.PathLike, StoreCore)):
            raise TypeError("_store must be a Store or a path")
        if mmap not in (None, "r"):
            raise TypeError(f'_mmap must be "r" (read-only memory maps) or None, not {mmap!r}')
        self.void = void
        self.check_output = check_output
        self.mapped = mmap == "r"
        self.recompute = recompute
        self.store = store
        self.limit = _nanoseconds(ttl)
        self.cache_if: Callable[[Any], object] | None = cache_if
        self.place: str | StoreCore | None = (
            place
            if place is None or isinstance(place, StoreCore)
            else os.path.abspath(os.path.expanduser(config.local_folder(place, "_store")))
        )
        self.declare(return_type)

    def declare(self, return_type: Any) -> None:
        """Take what the results are said to be; ``X | None`` is as good as ``X``, as None always passes."""
        parts = getattr(return_type, "__args__", ())
        if type(None) in parts and not isinstance(getattr(return_type, "__origin__", None), type):
            parts = [part for part in parts if part is not type(None)]
            return_type = parts[0] if len(parts) == 1 else return_type
        self.result = result_type(return_type)
        self.output = output_codec(return_type)


def _nanoseconds(ttl: Any) -> int | None:
    if ttl is None:
        return None
    seconds = ttl.total_seconds() if hasattr(ttl, "total_seconds") else ttl
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
        raise TypeError(f"_ttl must be a number of seconds from 0 up or a timedelta, not {ttl!r}")
    # of 285 years nobody sees the end, and a record has no room for more nanoseconds
    return None if seconds > LONGEST_TTL else int(seconds * 1e9)


def result_type(declared: Any) -> type | None:
    """The class that results must have to be stored, or None for any."""
    if declared is None:
        return None
    inner = getattr(declared, "__origin__", declared)  # list[int] -> list
    if not isinstance(inner, type):
        raise TypeError(f"return_type must be a type, not {declared!r}")
    return None if issubclass(inner, GenericType) else inner


def output_codec(declared: Any) -> str | None:
    """The codec of results that are paths: of a ``FileType`` or ``DirType``, or a list, tuple or dict of one
    of them; None for any other.
    """
    parts = [declared]
    if getattr(declared, "__origin__", None) in (list, tuple, dict):
        parts = [part for part in declared.__args__ if part is not Ellipsis]
        parts = parts[1:] if declared.__origin__ is dict else parts
    kinds = {
        codec
        for part in parts
        for wrapper, codec in ((FileType, FILES), (DirType, FOLDERS))
        if isinstance(part, type) and issubclass(part, wrapper)
    }
    if len(kinds) > 1:
        raise TypeError(f"return_type {declared!r}: files and folders cannot be mixed; return two lists")
    return kinds.pop() if kinds else None


def refuse_generators(function: Any) -> None:
    """A generator is used up by its first reader, so it cannot be given to two callers.

    Raises:
        TypeError: with the remedy.
    """
    flags = code_flags(function)
    if flags & (_GENERATOR | _ASYNC_GENERATOR):
        name = getattr(function, "__qualname__", repr(function))
        remedy = "return a list, or decorate the function that makes each item"
        raise TypeError(f"{name} is a generator function and cannot be cached; {remedy}")


def is_coroutine(function: Any) -> bool:
    """Whether calling the function gives a coroutine."""
    return bool(code_flags(function) & _COROUTINE)


def code_flags(function: Any) -> int:
    """The flags of the code that runs when ``function`` is called; 0 for builtins. Partials and bound methods
    are looked through, wrappers are not.
    """
    while (
        inner := getattr(function, "func", None) or getattr(function, "__func__", None)
    ) is not None and not hasattr(function, "__code__"):
        function = inner
    code = getattr(function, "__code__", None)
    if code is None and not isinstance(function, type):  # an object that can be called
        code = getattr(vars(type(function)).get("__call__"), "__code__", None)
    flags: int = getattr(code, "co_flags", 0)
    return flags
