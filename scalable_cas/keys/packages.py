"""Which packages a function ran with: the versions of what its module uses, as the loaded modules say.

They are no part of any key; an explanation shows them where they changed, because a new version of a library
is the first thing that a person asks about when two results differ.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: A module that imports more is a collection of everything; 30 names and versions take half a kilobyte.
MOST_PACKAGES = 30


def packages_of(function: Callable[..., Any]) -> dict[str, str]:
    """Package name -> version of the packages that the function's module has names from, and ``python``.

    Only ``__version__`` of loaded modules is read: the metadata of installed distributions would cost 20 ms.
    """
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    space = getattr(function, "__globals__", {})
    roots = {_root(value) for value in [*space.values()]} - {
        _root(sys.modules.get(str(space.get("__name__"))))
    }
    for root in sorted(roots - {""} - sys.stdlib_module_names):
        version = getattr(sys.modules.get(root), "__version__", None)
        if isinstance(version, str) and len(found) < MOST_PACKAGES:
            found[root] = version[:40]
    return found


def _root(value: object) -> str:
    """The top-level package of a module, or of the module that a function or class is from; "" of others."""
    kinds = (type, type(_root), type(len))
    name: Any = getattr(value, "__name__" if isinstance(value, type(sys)) else "__module__", None)
    if not isinstance(value, (type(sys), *kinds)) or not isinstance(name, str):
        return ""
    return name.partition(".")[0]
