"""The fingerprint of code: the same for the same code everywhere, another for other code, and never of a text
that is not it.
"""

from __future__ import annotations

import linecache
import sys
import textwrap

import pytest

from scalable_cas.keys.code import fingerprint, likely_node, verified_node

from .samples import add, double


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
