"""Never compute the same thing twice: results of functions, files and folders in a content-addressed store.

The public names, and nothing else. Each is imported from its module when it is first asked for, so that a
command, or a program that only catches an error of ours, does not load the decorator with all that it needs.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.api import Store
    from scalable_cas.caching import (
        DirType,
        FileType,
        GenericType,
        ObjectType,
        UtilityType,
        ValueType,
        cacheable,
        register_key,
    )
    from scalable_cas.errors import CacheWarning, ScalableCasError, StaleCodeWarning, UnhashableArgument

__version__ = "0.1.0"

__all__ = [
    "CacheWarning",
    "DirType",
    "FileType",
    "GenericType",
    "ObjectType",
    "ScalableCasError",
    "StaleCodeWarning",
    "Store",
    "UnhashableArgument",
    "UtilityType",
    "ValueType",
    "cacheable",
    "register_key",
]

# Errors that the contract names are found here too, though `import *` leaves most of them out.
_ERRORS = (
    "CacheWarning",
    "ConfigError",
    "CorruptObject",
    "ObjectNotFound",
    "RemoteError",
    "ScalableCasError",
    "StaleCodeWarning",
    "StoreVersionError",
    "UnhashableArgument",
    "UntrustedEntry",
)
_HOMES = {
    **dict.fromkeys(__all__, "scalable_cas.caching"),
    **dict.fromkeys(_ERRORS, "scalable_cas.errors"),
    "Store": "scalable_cas.api",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # `__import__` with a list of names returns the module itself; importlib.import_module costs an import
    # more
    value = globals()[name] = getattr(__import__(home, fromlist=(name,)), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
