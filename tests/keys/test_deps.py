"""``_code="self"`` and ``_code="deps"``: which edit is another key. By files that are edited between processes,
and by what a running program changes.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import sys
import threading

import pytest

from scalable_cas import cacheable
from scalable_cas.keys.call import CallKeyer
from scalable_cas.keys.deps import Dependencies, Walk

MAIN = """
from scalable_cas import cacheable
import helpers
from helpers import Base, other
from tables import RATES

runs = []
count = 0
LIMIT = 10
HANDLERS = {"plus": lambda x: x + 1}

class Model(Base):
    factor = 2

    def run(self, x):
        return self.scale(x) * self.factor

def near(x):
    return x + 1

def default(x=1):
    return x

def unused(x):
    return x

model = Model()

@cacheable(_code="MODE")
def f(x, y=1):
    global count
    count += 1
    runs.append(x)
    from late import inner
    a = near(x) + helpers.far(x) + other(x) + default()
    b = Model().run(x) + model.run(x) + HANDLERS["plus"](x)
    return a + b + LIMIT + RATES["a"] + inner(x) + y

if __name__ == "__main__":
    f(1)
    f(1)
    print(len(runs), f.cache_key(1))
"""
HELPERS = """
DEPTH = 3

def far(x):
    return deeper(x)

def deeper(x):
    return x + DEPTH

def other(x):
    return x

def stranger(x):
    return x

class Base:
    def scale(self, x):
        return x + 1
"""
FILES = {
    "main.py": MAIN,
    "helpers.py": HELPERS,
    "tables.py": "RATES = {'a': 1}\n",
    "late.py": "def inner(x):\n    return x\n",
}

HIT = {
    "comment in body": ("main.py", "    runs.append(x)", "    # why\n    runs.append(x)"),
    "docstring": ("main.py", "    global count", '    """What it does."""\n    global count'),
    "annotation": ("main.py", "def near(x):", "def near(x: int) -> int:"),
    "own annotation": ("main.py", "def f(x, y=1):", "def f(x: int, y: int = 1) -> int:"),
    "layout": ("main.py", "+ LIMIT + RATES", "+  LIMIT  +  RATES"),
    "blank lines above": ("main.py", "def near", "\n\n\ndef near"),
    "unrelated function": ("main.py", "def unused(x):\n    return x", "def unused(x):\n    return 2 * x"),
    "unrelated function elsewhere": ("helpers.py", "def stranger(x):\n    return x", "def stranger(x): 0"),
    "docstring of a helper": ("helpers.py", "def deeper(x):\n", 'def deeper(x):\n    "Doc."\n'),
    "moved helper": ("helpers.py", HELPERS, "class Stranger: pass\n" + HELPERS),
    "docstring of a class": ("main.py", "class Model(Base):", 'class Model(Base):\n    "Doc."\n'),
}
OWN = {
    "own body": ("main.py", "    a = near(x)", "    a = 2 * near(x)"),
    "own default": ("main.py", "y=1", "y=2"),
}
REACHED = {
    "helper, same module": ("main.py", "return x + 1\n\ndef default", "return x + 2\n\ndef default"),
    "helper, other module": ("helpers.py", "return deeper(x)", "return -deeper(x)"),
    "helper of the helper": ("helpers.py", "return x + DEPTH", "return x - DEPTH"),
    "helper imported by name": ("helpers.py", "def other(x):\n    return x", "def other(x):\n    return -x"),
    "helper imported inside": ("late.py", "return x", "return -x"),
    "module constant": ("main.py", "LIMIT = 10", "LIMIT = 11"),
    "constant of another module": ("helpers.py", "DEPTH = 3", "DEPTH = 4"),
    "constant in a dict": ("tables.py", "1", "2"),
    "default of a helper": ("main.py", "def default(x=1)", "def default(x=2)"),
    "class attribute": ("main.py", "factor = 2", "factor = 3"),
    "class method": ("main.py", "self.scale(x) * ", "self.scale(x) + "),
    "method of a base": (
        "helpers.py",
        "    def scale(self, x):\n        return x + 1",
        "    def scale(self, x):\n        return x",
    ),
    "lambda in a table": ("main.py", "lambda x: x + 1", "lambda x: x + 2"),
}


@pytest.fixture
def program(run, workdir, monkeypatch):
    """Write the files in a mode, with a change or without; run them and return (runs, key)."""
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(workdir / "cache"))

    def start(mode, change=None, *args):
        for name, text in FILES.items():
            if change is not None and change[0] == name:
                assert change[1] in text
                now = text.replace(change[1], change[2])
            else:
                now = text
            (workdir / name).write_text(now.replace("MODE", mode))
        done = run(*(args or ("main.py",)), PYTHONDONTWRITEBYTECODE="1")
        assert not done.stderr, done.stderr
        runs, key = done.stdout.split()
        return int(runs), key

    return start


@pytest.mark.parametrize("change", HIT.values(), ids=HIT.keys())
def test_an_edit_that_means_nothing_hits(program, change):
    before = program("deps")
    assert program("deps", change) == (0, before[1])


@pytest.mark.parametrize("change", (OWN | REACHED).values(), ids=(OWN | REACHED).keys())
def test_an_edit_of_what_is_reached_misses(program, change):
    before = program("deps")
    runs, key = program("deps", change)
    assert runs == 1
    assert key != before[1]
    assert program("deps") == (0, before[1])  # the first state is there still


def test_self_counts_the_function_itself_and_nothing_else(program):
    before = program("self")
    for change in OWN.values():
        assert program("self", change)[0] == 1
    for change in (HIT["comment in body"], HIT["docstring"], *REACHED.values()):
        assert program("self", change) == (0, before[1])


def test_script_module_and_import_have_one_key(program):
    ways = (("main.py",), ("-m", "main"), ("-c", "import main; print(0, main.f.cache_key(1))"))
    assert len({program("deps", None, *way)[1] for way in ways}) == 1
    assert len({program("self", None, *way)[1] for way in ways}) == 1


def test_the_place_does_not_count(program, workdir, run):
    before = program("deps")
    (workdir / "elsewhere").mkdir()
    program_ = f"import os, sys; os.chdir('elsewhere'); sys.path.insert(0, {str(workdir)!r}); import main; print(main.f.cache_key(1))"
    assert run("-c", program_).stdout.strip() == before[1]


# --- while a program runs ----------------------------------------------------------------------------------

VALUE = 1
TABLE = {"a": 1}
state = {"n": 0}


def helper(x):
    return x + VALUE


def uses_helper(x):
    return helper(x)


def uses_table(x):
    return TABLE["a"] + x


def only_for_effect(x):
    state["n"] += 1
    return x


class Filler:
    def __init__(self, k):
        self.k = k

    def append(self, out):
        out.append(self.k)


filler = Filler(1)


def fills(out):
    filler.append(out)
    return out


def one(x):
    return two(x)


def two(x):
    return one(x)


def test_what_is_assigned_anew_is_seen(monkeypatch):
    here = sys.modules[__name__]
    deps = Dependencies(uses_helper)
    first = deps.now()
    assert deps.now() == first
    monkeypatch.setattr(here, "VALUE", 2)
    assert deps.now() != first
    monkeypatch.setattr(here, "VALUE", 1)
    assert deps.now() == first
    monkeypatch.setattr(here, "VALUE", True)
    assert deps.now() != first
    monkeypatch.undo()
    space = {}
    exec("def helper(x):\n    return x * 7\n", space)
    monkeypatch.setattr(here, "helper", space["helper"])
    assert deps.now() != first


def test_what_is_changed_in_place_is_seen(monkeypatch):
    deps = Dependencies(uses_table)
    first = deps.now()
    monkeypatch.setitem(TABLE, "a", 2)
    assert deps.now() != first
    monkeypatch.undo()
    assert deps.now() == first


def test_what_is_used_for_effect_only_does_not_count():
    deps = Dependencies(only_for_effect)
    first = deps.now()
    only_for_effect(1)
    assert deps.now() == first


def test_what_is_called_for_effect_and_acts_counts(monkeypatch):
    here = sys.modules[__name__]
    deps = Dependencies(fills)
    first = deps.now()
    monkeypatch.setattr(here, "filler", Filler(2))
    assert deps.now() != first
    monkeypatch.setattr(here, "filler", [])  # only takes something in
    other = deps.now()
    monkeypatch.setattr(here, "filler", [1])
    assert deps.now() == other != first
    monkeypatch.undo()
    assert deps.now() == first


def test_a_helper_whose_code_is_replaced_in_place_is_seen(monkeypatch):
    def other(x):
        return x - VALUE

    deps = Dependencies(uses_helper)
    first = deps.now()
    monkeypatch.setattr(helper, "__code__", other.__code__)
    assert deps.now() != first


def test_cycles_end_and_order_does_not_count():
    first = Dependencies(one).now()
    assert Dependencies(two).now() == first  # they reach the same; their names tell their keys apart
    assert Dependencies(uses_helper).now() != first


def test_a_class_whose_attribute_is_assigned_is_seen(monkeypatch):
    deps = Dependencies(uses_class)
    first = deps.now()
    monkeypatch.setattr(Thing, "size", 3)
    assert deps.now() != first


class Thing:
    size = 2

    def get(self):
        return self.size


def uses_class(x):
    return Thing().get() + x


def test_no_change_walks_once(monkeypatch):
    walks = []
    original = Walk.__init__
    monkeypatch.setattr(Walk, "__init__", lambda self, f: walks.append(f) or original(self, f))
    deps = Dependencies(uses_table)
    for _ in range(5):
        deps.now()
    assert len(walks) == 1


def through_a_library(function):
    @functools.lru_cache
    def inner(x):
        return function(x)

    return inner


FACTOR = 1


def scaled(x):
    return x * FACTOR


partial_ = functools.partial(scaled)
cached_ = through_a_library(scaled)


def uses_wrappers(x):
    return partial_(x)


def uses_cached(x):
    return cached_(x)


class Holder:
    """An object without an encoding, with a function in it."""

    def __init__(self, function):
        self.function = function
        self.lock = threading.Lock()


holder = Holder(scaled)
mixed = {"run": scaled, "lock": threading.Lock()}


def uses_an_object(x):
    return holder.function(x)


def uses_a_table(x):
    return mixed["run"](x)


@pytest.mark.parametrize("function", [uses_wrappers, uses_cached, uses_an_object, uses_a_table])
def test_wrappers_are_looked_through(function, monkeypatch):
    deps = Dependencies(function)
    first = deps.now()
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 2)
    assert deps.now() != first


bound = functools.partial(pow, 2)


def uses_bound(x):
    return bound(x)


def test_what_a_partial_binds_counts(monkeypatch):
    deps = Dependencies(uses_bound)
    first = deps.now()
    monkeypatch.setattr(sys.modules[__name__], "bound", functools.partial(pow, 3))
    assert deps.now() != first


def test_a_long_chain_of_helpers_is_no_obstacle():
    count = 3 * sys.getrecursionlimit()
    text = (
        "".join(f"def f{i}(x):\n    return f{i + 1}(x)\n" for i in range(count))
        + f"def f{count}(x): return x\n"
    )
    space = {"__name__": "long"}
    exec(text, space)
    names = {name for name, _ in Walk(space["f0"]).entries}
    assert f"long:f{count}" in names


class Proxy:
    """Whatever is asked of it fails."""

    def __getattribute__(self, name):
        raise RuntimeError(name)

    __dict__ = property(lambda self: 1 / 0)
    __class__ = property(lambda self: 1 / 0)


proxy = Proxy()


def uses_a_proxy(x):
    return proxy.anything(x)


def test_no_hook_of_an_object_is_run():
    assert Dependencies(uses_a_proxy).now() == Dependencies(uses_a_proxy).now()


@cacheable(_code="deps")
def ping(x):
    return pong(x) + VALUE if x else 0


@cacheable(_code="deps")
def pong(x):
    return ping(x - 1)


@cacheable(_version=1)
def by_name(x):
    return x


def uses_cached_functions(x):
    return by_name(x)


def key_of(cached):
    """The key of a cached function's call; no store is looked for."""
    return CallKeyer(cached.__wrapped__, code="deps", arg_types={}).bind((1,), {}, None)[0]


def test_cached_functions_that_reach_each_other(monkeypatch):
    first = key_of(ping), key_of(pong)
    monkeypatch.setattr(sys.modules[__name__], "VALUE", 5)
    second = key_of(ping), key_of(pong)
    assert first[0] != second[0]
    assert first[1] != second[1]
    monkeypatch.undo()
    assert (key_of(ping), key_of(pong)) == first


def test_a_cached_function_counts_by_its_own_option(monkeypatch):
    deps = Dependencies(uses_cached_functions)
    first = deps.now()

    def made(option, version, body):
        space = {"cacheable": cacheable, "__name__": __name__, "__file__": __file__}
        exec(f"@cacheable(_code={option!r}, _version={version})\ndef by_name(x):\n    return {body}\n", space)
        monkeypatch.setattr(sys.modules[__name__], "by_name", space["by_name"])
        return deps.now()

    assert made(None, 2, "x") != first
    assert made("self", 1, "x") != made("self", 1, "-x")
    assert made("deps", 1, "x") != made("deps", 1, "-x")


def test_a_cached_closure_counts_by_what_it_captured(monkeypatch):
    def made(step):
        @cacheable
        def by_name(x):
            return x + step

        return by_name

    deps = Dependencies(uses_cached_functions)
    monkeypatch.setattr(sys.modules[__name__], "by_name", made(1))
    first = deps.now()
    monkeypatch.setattr(sys.modules[__name__], "by_name", made(2))
    assert deps.now() != first
    monkeypatch.setattr(sys.modules[__name__], "by_name", made(1))
    assert deps.now() == first


HERE = {"__module__": __name__}
Declared = dataclasses.make_dataclass("Declared", ["a"], namespace=HERE)


@functools.singledispatch
def dispatched(x):
    return x


def attributed(x):
    return x


def uses_declared(x):
    return Declared(x) == Declared(x + 1)


def uses_dispatched(x):
    return dispatched(x)


def uses_attributed(x):
    return attributed(x) * attributed.weight


def attrs_class(**said):
    attr = pytest.importorskip("attr")
    made = attr.make_class("Declared", {"a": attr.ib(**said)})
    made.__module__ = __name__
    return made


@pytest.mark.parametrize(
    "make",
    [
        lambda k: dataclasses.make_dataclass("Declared", ["a"], namespace=HERE, order=k == 1),
        lambda k: dataclasses.make_dataclass("Declared", ["a"], namespace=HERE, eq=k == 1),
        lambda k: dataclasses.make_dataclass(
            "Declared", [("a", int, dataclasses.field(compare=k == 1))], namespace=HERE
        ),
        lambda k: attrs_class(default=k),
        lambda k: attrs_class(converter=[None, int, str][k]),
        lambda k: attrs_class(eq=k == 1),
    ],
    ids=["order", "eq", "compare", "attrs default", "attrs converter", "attrs eq"],
)
def test_how_a_class_declares_its_fields(make, monkeypatch):
    deps, module = Dependencies(uses_declared), sys.modules[__name__]
    monkeypatch.setattr(module, "Declared", make(1))
    first = deps.now()
    monkeypatch.setattr(module, "Declared", make(2))
    assert deps.now() != first
    monkeypatch.setattr(module, "Declared", make(1))
    assert deps.now() == first


def test_what_singledispatch_chooses_from():
    deps = Dependencies(uses_dispatched)
    first = deps.now()
    dispatched.register(int, lambda x: x + 1)
    second = deps.now()
    dispatched.register(int, lambda x: x + 2)
    assert len({first, second, deps.now()}) == 3


def test_attributes_of_a_function_that_is_reached(monkeypatch):
    deps = Dependencies(uses_attributed)
    monkeypatch.setattr(attributed, "weight", 1, raising=False)
    first = deps.now()
    monkeypatch.setattr(attributed, "weight", 2)
    assert deps.now() != first


REACHING = {
    "getattr": """
def case(x):
    return getattr(far, "value")
""",
    "a module that is handed on": """
def read(module):
    return module.value

def case(x):
    return read(far)
""",
    "slots": """
class Wrapper:
    __slots__ = ("inner",)

    def __init__(self, inner):
        self.inner = inner

    def __call__(self):
        return self.inner()

@Wrapper
def inner():
    return far.value

def case(x):
    return inner()
""",
    "a factory of pydantic": """
import pydantic

def make():
    return far.value

class Model(pydantic.BaseModel):
    number: int = pydantic.Field(default_factory=make)

def case(x):
    return Model().number
""",
    "a validator of pydantic": """
import typing
import pydantic

def checked(number):
    return number + far.value

class Model(pydantic.BaseModel):
    number: typing.Annotated[int, pydantic.AfterValidator(checked)]

def case(x):
    return Model(number=1).number
""",
    "a decorator of wrapt": """
import wrapt

@wrapt.decorator
def through(wrapped, instance, args, kwargs):
    return wrapped(*args, **kwargs)

@through
def inner():
    return far.value

def case(x):
    return inner()
""",
    "the code of a decorator of wrapt": """
import wrapt

@wrapt.decorator
def through(wrapped, instance, args, kwargs):
    return far.value

@through
def inner():
    return 1

def case(x):
    return inner()
""",
}


@pytest.mark.parametrize("name", REACHING)
def test_ways_to_a_value(name, tmp_path, monkeypatch):
    if name.endswith(("pydantic", "wrapt")):
        pytest.importorskip(name.rpartition(" ")[2])
    (tmp_path / "far.py").write_text("value = 1\nother = 1\n")
    (tmp_path / "ways.py").write_text("import far\n" + REACHING[name])
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("far", "ways"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    ways = importlib.import_module("ways")
    deps = Dependencies(ways.case)
    first = deps.now()
    assert Dependencies(ways.case).now() == first
    monkeypatch.setattr(ways.far, "value", 2)
    assert deps.now() != first
    for module in ("far", "ways"):
        monkeypatch.delitem(sys.modules, module)


def test_libraries_are_not_followed():
    def calls_a_library(x):
        return functools.reduce(max, [x])

    names = {name for name, _ in Walk(calls_a_library).entries}
    assert not any(name.startswith("functools") for name in names)


# --- the option --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["other", "", 1, True, b"self", ["self"]])
def test_anything_else_is_refused(wrong):
    with pytest.raises(TypeError, match="_code"):
        CallKeyer(helper, code=wrong, arg_types={})


def test_the_function_keeps_its_place_in_the_index():
    keyers = [CallKeyer(helper, code=code, arg_types={}) for code in (None, "self", "deps")]
    assert len({keyer.fnid for keyer in keyers}) == 1
    assert len({keyer.bind((1,), {}, None)[0] for keyer in keyers}) == 3


def test_the_layers_of_decorated_functions_count():
    def twice(function):
        @functools.wraps(function)
        def wrapper(x):
            return 2 * function(x)

        return wrapper

    def thrice(function):
        @functools.wraps(function)
        def wrapper(x):
            return 3 * function(x)

        return wrapper

    keys = {
        CallKeyer(decorate(helper), code="self", arg_types={}).bind((1,), {}, None)[0]
        for decorate in (twice, thrice)
    }
    assert len(keys) == 2


def test_a_function_in_c_has_no_code_to_count():
    plain, own = (CallKeyer(abs, code=code, arg_types={}) for code in (None, "self"))
    assert plain.bind((1,), {}, None)[0] == own.bind((1,), {}, None)[0]
