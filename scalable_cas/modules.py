"""Names of modules that mean the same in every process.

A script is called `__main__` when it is run, `__mp_main__` in a spawned worker and by its file name when it
is imported. Keys and stored values need one name for all three: the *canonical* name, the one by which an
import would find the file.
"""

from __future__ import annotations

import os.path
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

MAIN_NAMES = ("__main__", "__mp_main__")

# A file is asked for its parents' `__init__.py` once per process: the answer is needed at every decoration
# and at every stored instance of a script's class, and a package does not change while it runs. It also keeps
# the first answer when the working directory moves, which matters for the rare relative `__file__`.
_names_of_files: dict[str, str] = {}


def canonical_module(module_name: str, filename: str | None = None) -> str:
    """Return the name by which `module_name` can be imported anywhere.

    Only `__main__` and `__mp_main__` have another name than their own: the one that `python -m` was given,
    else the stem of the script's file with the packages it lies in before it. A main module without a file (a
    notebook, the interactive prompt, `python -c`) stays `__main__`.

    `filename` is the file that the code in question was compiled from (`code.co_filename`), if known. It
    decides where it is a file other than that of the running main module: profilers and `runpy` run a script
    as `__main__` while `sys.modules["__main__"]` is still their own.
    """
    if module_name not in MAIN_NAMES:
        return module_name
    main = sys.modules.get(module_name)
    main_file = getattr(main, "__file__", None)
    if filename and filename != main_file and os.path.isfile(filename) and not _same(filename, main_file):
        return _name_of_file(filename)
    name = getattr(getattr(main, "__spec__", None), "name", None)
    if name and name not in MAIN_NAMES:
        # Given by `python -m`. `python FOLDER` and `python APP.zip` set a spec too, but call it `__main__`.
        return str(name)
    return _name_of_file(main_file) if main_file else "__main__"


def loaded_module(canonical: str) -> ModuleType | None:
    """Return the module with this canonical name if it is loaded already, without importing anything.

    The running script comes before a second copy of itself that somebody imported by name: the classes that
    the user's own code sees are those of the running script.
    """
    main = main_module(canonical)
    return main if main is not None else sys.modules.get(canonical)


def resolve_module(canonical: str) -> ModuleType:
    """Return the module with this canonical name, importing it if need be.

    Raises:
        ImportError: there is no such module. Whatever else the module's own code raises passes through.
    """
    module = loaded_module(canonical)
    if module is None:
        from importlib import import_module

        module = import_module(canonical)
    return module


def main_module(canonical: str) -> ModuleType | None:
    """Return the running main module if `canonical` is its name, else `None`."""
    for name in MAIN_NAMES:
        main = sys.modules.get(name)
        if main is not None and canonical_module(name) == canonical:
            return main
    return None


def _same(filename: str, other: str | None) -> bool:
    return other is not None and os.path.exists(other) and os.path.samefile(filename, other)


def _name_of_file(filename: str) -> str:
    known = _names_of_files.get(filename)
    if known is not None:
        return known
    folder, base = os.path.split(os.path.abspath(filename))
    stem = os.path.splitext(base)[0]
    parts = [] if stem == "__init__" else [stem]
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder, package = os.path.split(folder)
        if not package:
            break
        parts.insert(0, package)
    name = ".".join(parts) or "__main__"
    _names_of_files[filename] = name
    return name
