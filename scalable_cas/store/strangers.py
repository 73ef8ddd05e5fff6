"""Where files of a stranger's may be put back, and which ones never, because of what programs do with a file
of that name. Keeps I7.

The problem: a file beside the user's program is more than data. Python imports ``numpy.py`` from the folder
of the script before its own, ``make`` obeys a ``GNUmakefile``, git takes a folder with a ``HEAD`` for a
repository and runs what its ``config`` says. So who may choose the name runs code, without a pickle. A list
of such names can never be complete; it holds what is run, imported or obeyed where nobody asked for that very
file, and scripts, which a stranger might replace. For a signer who is trusted there is no list.
"""

from __future__ import annotations

import os

from scalable_cas.errors import PathRefused, UntrustedEntry

_ENDINGS = """
py pyw pyc pyo pyd pyx pth so dylib jar class sh bash zsh ksh csh tcsh fish command desktop
rb pl pm r m jl lua tcl mk mak cmake ipynb dist-info egg-info egg
"""
_NAMES = """
makefile gnumakefile dockerfile containerfile snakefile justfile rakefile gemfile jenkinsfile vagrantfile
procfile pipfile sconstruct wscript cmakelists.txt package.json pyproject.toml setup.cfg tox.ini pytest.ini
pyvenv.cfg nextflow.config scalable.yaml head
.rprofile .renviron .octaverc .pylintrc .coveragerc .pdbrc .gdbinit .lldbinit .envrc .npmrc .yarnrc .vimrc
.exrc .vscode
"""
#: Endings of what Python imports, of libraries, of scripts and programs, of packages' descriptions.
ENDINGS = frozenset(_ENDINGS.split())
#: Whole names that a program takes for its own, wherever it is started.
NAMES = frozenset(_NAMES.split())


def parts(path: str) -> list[bytes]:
    """The names on the way from the working directory to a path that somebody else's entry asks for.

    Raises:
        PathRefused: it is absolute, goes up, is hidden, or is the working directory itself.
    """
    found = [part for part in os.fsencode(path).split(b"/") if part not in (b"", b".")]
    if path.startswith("/") or "\0" in path:
        fault = "does not start at the working directory"
    elif b".." in found or not found:
        fault = "does not lead below the working directory"
    elif any(part.startswith(b".") for part in found):
        fault = "is hidden"
    else:
        return found
    raise PathRefused(repr(path), f"the entry comes from elsewhere, and the path {fault}")


def is_obeyed(name: bytes) -> bool:
    """Whether programs import, run or obey a file or folder because it has this name. In any case of letters:
    there are file systems that do not tell them apart, and some that drop dots and spaces at the end.
    """
    text = os.fsdecode(name).lower().rstrip(". ")
    _, dot, ending = text.rpartition(".")
    return text in NAMES or (bool(dot) and ending in ENDINGS) or ".so." in text


def check(name: bytes, *, program: bool = False) -> None:
    """Refuse a file or folder of somebody who is not trusted. ``program``: there is a file of that name by
    now, which can be executed.

    Raises:
        UntrustedEntry: it could run code.
    """
    if is_obeyed(name):
        fault = f"programs may run or import what is called {os.fsdecode(name)!r}"
    elif program:
        fault = f"it would replace a program, {os.fsdecode(name)!r}"
    else:
        return
    raise UntrustedEntry("its file", fault)
