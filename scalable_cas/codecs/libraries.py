"""Values of numpy, pandas and their like: which library a type belongs to, and who takes its values down and
up again.

They are nodes of the same tree as plain data, so a dict of frames or a dataclass of arrays needs no form of
its own, and each large array in it is a buffer of its own. A handler's module imports its library at the top;
it is loaded on the way down when the first value of the library is met, which means that the library is
loaded, and on the way up when the bytes ask for it. The names in the bytes choose among the handlers listed
here: nothing is imported that they name.
"""

from __future__ import annotations

import sys

from scalable_cas.errors import MissingLibrary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.codecs.lifting import Reader
    from scalable_cas.codecs.tags import Lower, RaiseNode

#: First part of a type's module, and of the names in the bytes -> our module with its handlers. Each has
#: `lowering()`, which gives the way down by exact type, and `RAISE`, the way up by name.
_HANDLERS = {
    "numpy": "arrays",
    "pandas": "frames",
    "polars": "polars",
    "pyarrow": "arrow",
    "scipy": "sparse",
    "torch": "tensors",
    "xarray": "xarrays",
}
#: The name of the codec where it is not that of the library.
_NAMES = {"pyarrow": "arrow"}

#: The codec of containers that hold values of libraries.
CONTAINER = "data"
#: Names of codecs -> the library whose values they hold at the top. All are one format: the name tells
#: people what is stored, and decoders where to look.
CODECS: dict[str, str] = {CONTAINER: "", **{_NAMES.get(library, library): library for library in _HANDLERS}}

_lowering: dict[str, dict[type, Lower]] = {}
_raising: dict[str, dict[str, RaiseNode]] = {}


def codec_of(kind: type) -> str:
    """Return the name of the codec for values of this type that are, or hold, values of libraries."""
    library = _library_of(kind)
    return CONTAINER if library is None else _NAMES.get(library, library)


def lower_for(kind: type) -> Lower | None:
    """Return the way down for exactly this type, or `None` if it is not one of a library we know."""
    library = _library_of(kind)
    if library is None:
        return None
    table = _lowering.get(library)
    if table is None:
        table = _lowering[library] = _handlers(library).lowering()
    return table.get(kind)


def raise_library(reader: Reader, items: list[Any]) -> Any:
    """Return the value of a library, from its name and parts.

    Raises:
        MissingLibrary: the library is not installed.
    """
    name = items.pop(0)
    if type(name) is not str:
        raise TypeError("the name of a library's type is text")
    library = name.partition(".")[0]
    table = _raising.get(library)
    if table is None:
        if library not in _HANDLERS:
            raise ValueError(f"a value of the library {library[:40]!r}")
        table = _raising[library] = _handlers(library).RAISE
    return table[name](reader, items)


def _library_of(kind: type) -> str | None:
    module = kind.__module__
    library = module.partition(".")[0] if type(module) is str else ""
    return library if library in _HANDLERS and library in sys.modules else None


def _handlers(library: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"scalable_cas.codecs.{_HANDLERS[library]}")
    except ImportError as error:
        raise MissingLibrary(library) from error
