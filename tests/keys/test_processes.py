"""One function has one key, however its module is started, in whichever process."""

from __future__ import annotations

import ast
import sys

import pytest

from scalable_cas.keys.call import CallKeyer

SCRIPT = """
import enum, sys, functools, multiprocessing
from scalable_cas.keys.call import CallKeyer

class Color(enum.Enum):
    RED = 1

class Plain:
    def __init__(self, x):
        self.x = x

def add(x, y=2):
    return x + y

def make(k):
    def inner(x):
        return x * k
    return inner

def passed_on(f):
    @functools.wraps(f)
    def wrapper(*args, **kwargs):
        return f(*args, **kwargs)
    return wrapper

@passed_on
def wrapped(x):
    return x

ARGUMENTS = [1, "a", {"b": 1, "a": [Color.RED]}, Plain(1), add, Plain, lambda x: x + 1, make(3),
Plain(2).__init__, {"q", "w", "e"}]

def keys(_=None):
    found = [(CallKeyer(f, arg_types={}).name, CallKeyer(f, arg_types={}).bind((v,), {}, None)[0].hex())
             for f in (add, make(3), lambda x: 3, wrapped, Plain) for v in ARGUMENTS]
    return found

if __name__ in ("__main__", "starter"):
    print(keys())
    if "spawn" in sys.argv:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(pool.map(keys, [0])[0])
"""


@pytest.fixture
def outcome(run):
    def start(*args, **env):
        done = run(*args, **env)
        assert done.returncode == 0, done.stderr
        return [ast.literal_eval(line) for line in done.stdout.splitlines()]

    return start


def test_script_module_import_spawn_and_hash_seed(workdir, outcome):
    (workdir / "job.py").write_text(SCRIPT)
    (workdir / "caller.py").write_text("import job; print(job.keys())")
    (expected,) = outcome("job.py")
    assert {name.partition(".")[0] for name, _ in expected} == {"job"}
    ways = [
        outcome("-m", "job"),
        outcome("caller.py"),
        outcome("-c", "import job; print(job.keys())"),
        outcome(str(workdir / "job.py"), PYTHONHASHSEED="1"),
        outcome("job.py", PYTHONHASHSEED="2"),
        outcome("job.py", "spawn"),
        outcome("-m", "job", "spawn"),
    ]
    for found in ways:
        for line in found:
            assert line == expected


def test_under_a_profiler(workdir, outcome):
    (workdir / "job.py").write_text(SCRIPT.replace("[Color.RED]", "[1]"))
    assert outcome("-m", "cProfile", "-o", "out", "job.py") == outcome("job.py")


def test_packages(workdir, outcome):
    for folder in ("pkg", "pkg/sub"):
        (workdir / folder).mkdir()
        (workdir / folder / "__init__.py").touch()
    (workdir / "pkg/sub/job.py").write_text(SCRIPT)
    (workdir / "pkg/__main__.py").write_text("from pkg.sub import job; print(job.keys())")
    (expected,) = outcome("-m", "pkg.sub.job")
    assert expected[0][0] == "pkg.sub.job.add"
    assert outcome("pkg/sub/job.py") == [expected]
    assert outcome("-m", "pkg") == [expected]
    assert outcome("pkg/sub/job.py", "spawn") == [expected, expected]
    assert outcome("-m", "pkg.sub.job", "spawn") == [expected, expected]


def test_a_copy_of_a_script_elsewhere_has_its_keys(workdir, outcome):
    (workdir / "a").mkdir()
    (workdir / "b").mkdir()
    for folder in "ab":
        (workdir / folder / "job.py").write_text(SCRIPT)
    assert outcome("a/job.py") == outcome("b/job.py")


def typed(text, name="__main__"):
    """The function of a text that was never a file, as at the prompt or in a notebook."""
    space = {"__name__": name}
    exec(text, space)
    return next(value for value in space.values() if callable(value))


def key(function, *args):
    return CallKeyer(function, arg_types={}).bind(args, {}, None)[0]


def test_without_a_file_the_code_identifies(workdir):
    one, two = typed("def load(x): return x"), typed("def load(x): return x + 1")
    again = typed("def load(x): return x")
    assert key(one, 1) == key(again, 1) != key(two, 1)
    assert CallKeyer(one, arg_types={}).fnid != CallKeyer(two, arg_types={}).fnid
    assert CallKeyer(one, arg_types={}).name.endswith(".load")
    # with a file behind it, an edit of the body is the same function
    texts = [workdir / "one.py", workdir / "two.py"]
    functions = []
    for path, body in zip(texts, ("x", "x + 1"), strict=True):
        path.write_text(f"def load(x): return {body}")
        space = {"__name__": "sys"}  # some module that is loaded
        exec(compile(path.read_text(), str(path), "exec"), space)
        functions.append(space["load"])
    assert key(functions[0], 1) == key(functions[1], 1)


def test_lambdas_are_their_code():
    one, two, again = (lambda x: x + 1), (lambda x: x + 2), (lambda x: x + 1)
    assert key(one, 1) == key(again, 1) != key(two, 1)
    assert CallKeyer(one, arg_types={}).fnid != CallKeyer(two, arg_types={}).fnid


def test_the_prompt(outcome):
    text = (
        "from scalable_cas.keys.call import CallKeyer\n"
        "def load(x): return x{}\n"
        "class Model:\n  def run(self): return 1{}\n"
        "k = CallKeyer(load, arg_types={{}})\n"
        "print([k.name, k.bind((1,), {{}}, None)[0].hex(), k.bind((Model(),), {{}}, None)[0].hex()])"
    )
    ((name, one, model),) = outcome("-c", text.format("", ""))
    assert name == "__main__.load"
    ((_, two, _),) = outcome("-c", text.format(" + 1", ""))
    ((_, three, other),) = outcome("-c", text.format("", "2"))
    assert one == three != two
    assert other != model


def test_nothing_heavy_is_loaded_for_a_plain_key(outcome):
    code = (
        "import sys; before = set(sys.modules)\n"
        "from scalable_cas.keys.call import CallKeyer\n"
        "def f(x, y=1): return x\n"
        f"exec(compile('def g(x, y=1, *, z=2): return x', {__file__!r}, 'exec'))\n"
        "g.__module__ = 'sys'\n"
        "CallKeyer(g, arg_types={'x': int}).bind((1,), {'y': {'a': [1.5, None, 'b', (2,)]}}, None)\n"
        "print(sorted(set(sys.modules) - before))"
    )
    (loaded,) = outcome("-c", code)
    heavy = {
        "inspect",
        "ast",
        "re",
        "dataclasses",
        "enum",
        "typing",
        "functools",
        "linecache",
        "datetime",
        "decimal",
        "pathlib",
    }
    assert heavy.isdisjoint(loaded)
    assert "scalable_cas.keys.quick" in loaded
    assert "scalable_cas.keys.code" not in loaded
    assert sys.version_info >= (3, 11)
