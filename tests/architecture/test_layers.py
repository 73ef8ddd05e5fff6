"""Dependencies point one way. There is no exception list: an exception is made by moving code."""

from __future__ import annotations

import pytest

from .source import imports, modules, parse

# From the bottom up. A module imports from lower layers and from its own package; what stands side by side in
# a layer does not know its neighbours, but for the words, which are the vocabulary of all.
LAYERS = (
    ("words", ("errors", "ids", "clock", "modules")),
    ("pure", ("format", "keys", "codecs")),
    ("places", ("storage", "remotes")),
    ("settings", ("config",)),
    ("whole", ("store",)),
    ("work", ("ops",)),
    ("interface", ("api",)),
    ("faces", ("caching", "cli", "testing")),
    ("package", ("__init__", "__main__")),
)
RANK = {unit: rank for rank, (_, units) in enumerate(LAYERS) for unit in units}
WORDS, PACKAGE = 0, len(LAYERS) - 1


def unit_of(name: str) -> str:
    """The package or module directly below scalable_cas that a name inside it belongs to.

    The version is a word that the package itself holds: it is there before any module is.
    """
    if name == "__version__":
        return "ids"
    first = name.partition(".")[0]
    return first if first in RANK else "__init__"


def test_every_module_has_its_place():
    strays = [m.path for m in modules() if (m.name.partition(".")[0] or "__init__") not in RANK]
    assert not strays, f"put these into a layer, or into a package that has one: {strays}"


def upward(module):
    """The imports of a module that its layer does not allow, each as a line for people."""
    unit = unit_of(module.name or "__init__")
    for node, name in imports(module):
        if name != "scalable_cas" and not name.startswith("scalable_cas."):
            continue
        target = unit_of(name.removeprefix("scalable_cas").lstrip(".") or "__init__")
        side_by_side = RANK[unit] == RANK[target] in (WORDS, PACKAGE)
        if not (target == unit or RANK[target] < RANK[unit] or side_by_side):
            yield f"{module.at(node)}   ({unit} may not import {target})"


def test_imports_point_down():
    wrong = [line for module in modules() for line in upward(module)]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    "path, statement, refused",
    [
        ("keys/call.py", "from scalable_cas.errors import UnhashableArgument", False),
        ("keys/call.py", "from scalable_cas.keys.canonical import encode", False),
        ("keys/call.py", "from .canonical import encode", False),
        ("errors.py", "from scalable_cas.ids import parse_id", False),
        ("cli/main.py", "from scalable_cas import ops", False),
        ("cli/main.py", "from scalable_cas import __version__", False),
        ("keys/call.py", "from scalable_cas.codecs import base", True),
        ("keys/call.py", "from ..codecs import base", True),
        ("keys/call.py", "def f():\n    import scalable_cas.store", True),
        ("storage/loose.py", "from scalable_cas.remotes import s3", True),
        ("ops/gc.py", "from scalable_cas import cacheable", True),
        ("ops/gc.py", "import scalable_cas", True),
        ("caching/__init__.py", "from scalable_cas.cli import main", True),
    ],
)
def test_an_import_that_points_up_is_recognised(path, statement, refused):
    assert bool(list(upward(parse(path, statement)))) is refused
