"""The fingerprint of code: the same for the same code everywhere, another for other code, and never of a text
that is not it.
"""

from __future__ import annotations

import json
import linecache
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from scalable_cas.keys import code
from scalable_cas.keys.code import fingerprint, likely_node, verified_node

from .golden_code import FILE, functions
from .samples import add, double

ROOT = Path(__file__).resolve().parents[2]


def load(tmp_path, text, name="module.py"):
    """The functions of a module that is compiled from a file."""
    path = tmp_path / name
    path.write_text(textwrap.dedent(text))
    space = {"__name__": "module"}
    exec(compile(path.read_text(), str(path), "exec"), space)
    return space


def one(tmp_path, text, name="module.py"):
    return fingerprint(load(tmp_path, text, name)["f"])


BASE = """
def f(x, y=1):
    z = [i * 2 for i in range(x)]
    return sum(z) + y
"""
LINE, LAST = "    z = [i * 2 for i in range(x)]", "    return sum(z) + y\n"
SAME = {
    "a comment": f"def f(x, y=1):\n    # why\n{LINE}  # how\n{LAST}",
    "layout": (
        "\n\ndef f(x,\n      y = 1 ):\n    z = [ i*2\n          for i in range(x) ]\n"
        "    return (sum(z) + y)\n"
    ),
    "a docstring": f'def f(x, y=1):\n    """What."""\n{LINE}\n{LAST}',
    "annotations": f"def f(x: int, y: int = 1) -> int:\n{LINE}\n{LAST}",
    "its own decorator": (
        f"cacheable = lambda *a, **k: (lambda f: f)\n@cacheable(_version=3)\ndef f(x, y=1):\n{LINE}\n{LAST}"
    ),
}
OTHER = {
    "a constant": BASE.replace("* 2", "* 3"),
    "a constant's type": BASE.replace("* 2", "* 2.0"),
    "a default": BASE.replace("y=1", "y=2"),
    "an operator": BASE.replace("+ y", "- y"),
    "a name": BASE.replace("sum", "max"),
    "a statement more": BASE.replace("    return", "    z.append(1)\n    return"),
    "True for 1": BASE.replace("y=1", "y=True"),
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME.keys())
def test_what_means_nothing_does_not_count(tmp_path, text):
    assert one(tmp_path, text, "other.py") == one(tmp_path, BASE)


@pytest.mark.parametrize("text", OTHER.values(), ids=OTHER.keys())
def test_what_means_something_counts(tmp_path, text):
    assert one(tmp_path, text, "other.py") != one(tmp_path, BASE)


def test_a_docstring_that_is_read_counts(tmp_path):
    text = 'def f():\n    """{}"""\n    return f.__doc__\n'
    assert one(tmp_path, text.format("a"), "a.py") != one(tmp_path, text.format("b"), "b.py")


def test_source_is_used_only_where_it_is_proved(tmp_path):
    function = load(tmp_path, BASE)["f"]
    assert fingerprint(function).startswith("ast1:")
    assert verified_node(function).name == "f"

    edited = load(tmp_path, BASE, "edited.py")["f"]
    (tmp_path / "edited.py").write_text("def f(x, y=1):\n    return 'something else entirely'\n")
    version = f"{sys.implementation.name}{sys.version_info.major}.{sys.version_info.minor}"
    assert fingerprint(edited).startswith(f"bc-{version}:")
    assert verified_node(edited) is None

    gone = load(tmp_path, BASE, "gone.py")["f"]
    (tmp_path / "gone.py").unlink()
    assert fingerprint(gone) == fingerprint(edited)


def test_an_edit_and_a_reload(tmp_path):
    before = one(tmp_path, "def f():\n    return 2\n")
    after = one(tmp_path, "def f():\n    return 5  # another length, so another stat\n")
    assert before != after
    assert after.startswith("ast1:")


def test_bytecode_tells_apart_what_source_would(tmp_path):
    prints = set()
    for text in [
        "def f():\n    return 1",
        "def f():\n    return 2",
        "def f():\n    return lambda: 2",
        "def f():\n    return 1.0",
    ]:
        space = {}
        exec(text, space)
        prints.add(fingerprint(space["f"]))
    assert len(prints) == 4
    assert all(found.startswith("bc-") for found in prints)


def test_a_notebook_cell():
    name, text = "<cell-7>", "def f(x):\n    return x + 1  # in a cell\n"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space = {"__name__": "__main__"}
    exec(compile(text, name, "exec"), space)
    assert fingerprint(space["f"]).startswith("ast1:")
    del linecache.cache[name]


def test_lambdas_on_one_line():
    one, two = (lambda x: x + 1), (lambda x: x + 2)
    nested = lambda: lambda: 1  # noqa: E731
    three, four = lambda x: None, lambda x: 0
    prints = [fingerprint(f) for f in (one, two, nested, nested(), three, four)]
    assert len(set(prints)) == 6
    assert all(found.startswith("ast1:") for found in prints)


def test_a_decorated_function_and_a_method():
    class Model:
        @staticmethod
        def run(x):
            return x

        @property
        def size(self):
            return 1

    assert fingerprint(Model.run).startswith("ast1:")
    assert fingerprint(Model.size.fget).startswith("ast1:")


def test_very_long_expressions_are_no_obstacle(tmp_path):
    text = "def f(x):\n    return " + " + ".join(["x"] * 900) + "\n"
    assert one(tmp_path, text) == one(tmp_path, text, "other.py")


def test_strange_file_names():
    for name in ("", "/", "/dev/zero", "/proc/self/mem", "a" * 5000):
        space = {}
        exec(compile("def f():\n    return 1", name, "exec"), space)
        assert fingerprint(space["f"]).startswith("bc-")


def test_fingerprints_of_the_samples_are_frozen():
    """The same on every Python version: these were made on 3.11."""
    assert fingerprint(add) == "ast1:7183cf3f8b2b707906df0d7ed5f887188542b6f1543c5c8e9d734631bd070f25"
    assert fingerprint(double) == "ast1:7eaefc81fb05748d54fc649e8aef4a786af224e3ebaccd468319e9e70e6b0960"


def test_rewritten_code_is_recognised_for_reading_only():
    def function(x):
        assert x
        return x

    assert verified_node(function) is None
    assert fingerprint(function).startswith("bc-")
    assert likely_node(function).name == "function"


# --- the golden list ---------------------------------------------------------------------------------------

GOLDEN = json.loads(FILE.read_text())


def test_the_golden_fingerprints(tmp_path):
    """Made once, on 3.11: the same on every Python version and for ever."""
    found = functions(GOLDEN["source"], tmp_path / "source.py")
    assert {name: fingerprint(function) for name, function in found.items()} == GOLDEN["fingerprints"]
    assert all(print_.startswith("ast1:") for print_ in GOLDEN["fingerprints"].values())
    assert GOLDEN["fingerprints"]["empty#0"] == GOLDEN["fingerprints"]["documented_only#0"]
    assert len(set(GOLDEN["fingerprints"].values())) > len(found) - 3


def test_a_function_by_itself_has_the_fingerprint_that_its_file_gives(tmp_path, monkeypatch):
    """Most are proved by their own lines, the rest by the whole file; it must not show."""
    found = functions(GOLDEN["source"], tmp_path / "source.py")
    alone = {name: code.quick_fingerprint(function.__code__) for name, function in found.items()}
    known = {name: print_ for name, print_ in alone.items() if print_ is not None}
    assert known.items() <= GOLDEN["fingerprints"].items()
    strange = {"scopes.<locals>.inner#0", "Model.Inner.method.<locals>.closure#0"}  # `global`; a mangled name
    assert {name for name in alone.keys() - known.keys() if "<lambda>" not in name} <= strange
    monkeypatch.setattr(code, "_known", {})
    monkeypatch.setattr(code, "_block_node", lambda _: None)
    whole = {name: fingerprint(function) for name, function in found.items()}
    assert whole == GOLDEN["fingerprints"]


def test_the_standard_library_has_one_fingerprint_on_every_version(tmp_path):
    """Its functions as they are written here, fingerprinted by each Python that is at hand."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    others = [shutil.which(f"python{v}") for v in ("3.11", "3.12", "3.13") if v != here]
    can = "import blake3"
    pythons = [p for p in others if p and not subprocess.run([p, "-c", can], capture_output=True).returncode]
    if not pythons:
        pytest.skip("no other version of Python with the dependencies")
    for name in ("argparse", "textwrap", "statistics", "heapq", "shlex"):
        source = Path(sys.modules["os"].__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
        (tmp_path / f"copied_{name}.py").write_text(source, encoding="utf-8")
    program = f"""
import json, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from scalable_cas.keys.code import fingerprint
from tests.keys.golden_code import functions
found = {{}}
for path in sorted(Path({str(tmp_path)!r}).glob("copied_*.py")):
    for name, function in functions(path.read_text(encoding="utf-8"), path).items():
        found[path.name + name] = fingerprint(function)
print(json.dumps(found))
"""
    runs = [
        subprocess.run([python, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
        for python in (sys.executable, *pythons)
    ]
    first, *rest = (json.loads(run.stdout) for run in runs)
    assert len(first) > 200
    for other in rest:
        assert other == first
