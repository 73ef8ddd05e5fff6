"""A closure's variables are inputs, unless the function uses them only for effect."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import io
import logging
import multiprocessing
import queue
import random
import threading
from typing import ClassVar, Generic, NamedTuple, TypeVar

import pytest

from scalable_cas.caching import cacheable
from scalable_cas.errors import UnhashableArgument
from scalable_cas.keys.call import CallKeyer
from scalable_cas.keys.captured import captured_values, watched_cells
from scalable_cas.keys.effects import VALUE
from scalable_cas.keys.encode import encode
from scalable_cas.keys.identity import is_everywhere
from scalable_cas.keys.registry import register_key


def key(function, *args):
    return CallKeyer(function, arg_types={}).bind(args, {}, None)[0]


T = TypeVar("T")


def roles_of(function):
    return {
        name: "value" if role is VALUE else "called" if ("()",) in role else "effect"
        for name, role, _ in watched_cells(function)
    }


def make(k):
    def function(x):
        return x * k

    return function


def test_two_closures_are_two_functions():
    assert key(make(1), 5) != key(make(100), 5)
    assert key(make(1), 5) == key(make(1), 5)


def test_every_use_of_a_captured_variable():
    calls, n, cnt, lock, log, obj, k, cfg, rows, event, counter, fill, gone, other = [None] * 14

    def function(x):
        nonlocal n
        calls.append(x)
        n += 1
        cnt["n"] += 1
        with lock:
            log.info("x %s", x)
        obj.value += 1
        obj.inner.value = 2
        with counter.get_lock():
            counter.value += 1
        event.wait()
        fill(x)
        del gone[:]
        if cfg["on"]:
            return x * k
        rows.append(x)
        other[x] = 1
        return len(rows)

    assert roles_of(function) == {
        **dict.fromkeys(
            ["calls", "n", "cnt", "lock", "log", "obj", "event", "counter", "gone", "other"], "effect"
        ),
        "fill": "called",
        **dict.fromkeys(["k", "cfg", "rows"], "value"),
    }


def test_uses_that_count_in_spite_of_an_effect():
    a, b, c, d, e, f, g = [None] * 7

    async def function(x):
        a[b] = 1
        c.append(d)
        async with e:
            await f.wait()
        with g as opened:
            return opened

    assert roles_of(function) == {
        **dict.fromkeys("acef", "effect"),
        **dict.fromkeys("bdg", "value"),
    }


def test_uses_in_inner_functions_and_comprehensions_count():
    a, b, c = 1, 2, 3

    def function(x):
        inner = lambda: a  # noqa: E731
        return inner, [b for _ in x], {c: 1}

    assert roles_of(function) == dict.fromkeys("abc", "value")


def test_counting_calls_does_not_change_the_key():
    calls, count = [], {"n": 0}

    def function(x):
        calls.append(x)
        count["n"] += 1
        return x

    before = key(function, 1)
    function(1)
    assert key(function, 1) == before


def test_an_assert_which_pytest_rewrites_is_no_obstacle():
    calls = []
    k = 2

    def function(x):
        calls.append(x)
        assert x > 0
        return x * k

    assert roles_of(function) == {"calls": "effect", "k": "value"}


def test_a_nonlocal_counter_that_is_read_counts():
    n = 0

    def function():
        nonlocal n
        n += 1
        return n

    before = key(function)
    function()
    assert key(function) != before


def test_a_captured_function_called_for_effect_counts_by_its_code():
    def build(fill):
        def function(out):
            fill(out)
            return out

        return function

    assert key(build(lambda out: out.append(1)), []) != key(build(lambda out: out.append(2)), [])
    # … but not with what it is done to, if it is no function of its own
    seen = []
    before = key(build(seen.append), 1)
    seen.append(1)
    assert key(build(seen.append), 1) == before


class Kernel:
    """Acts on what it is given, in every way that throws a call's result away."""

    current = 0

    def __init__(self, k):
        self.k = k
        self.inner = self if k == "end" else None

    def run(self, out):
        out.append(self.k)

    append = __call__ = __setitem__ = run

    async def fill(self, out):
        out.append(self.k)

    def __enter__(self):
        Kernel.current = self.k

    def __exit__(self, *_):
        Kernel.current = 0

    def __iadd__(self, out):
        out.append(self.k)
        return self

    @property
    def target(self):
        return None

    @target.setter
    def target(self, out):
        out.append(self.k)


def acting(kernel, table, step):
    def called(out):
        kernel.run(out)

    def named_like_a_list(out):
        kernel.append(out)

    def by_name(out):
        step(out)

    def entered(out):
        with kernel:
            out.append(Kernel.current)

    def set_property(out):
        kernel.target = out

    def added(out):
        nonlocal kernel
        kernel += out

    def in_a_table(out):
        table["a"].run(out)

    def added_in_a_table(out):
        table["a"] += out

    def sorting(out):
        table["rows"].sort(key=out.append)

    async def awaited(out):
        await kernel.fill(out)

    return [
        *(called, named_like_a_list, by_name, entered, set_property, added),
        *(in_a_table, added_in_a_table, sorting, awaited),
    ]


@pytest.mark.parametrize("number", range(10))
def test_what_acts_on_its_arguments_counts_though_its_result_is_thrown_away(number):
    def build(k):
        return acting(Kernel(k), {"a": Kernel(k), "rows": [k]}, Kernel(k))[number]

    assert key(build(1), 1) == key(build(1), 1) != key(build(10), 1)


@pytest.mark.parametrize(
    "build",
    [lambda k: k, lambda k: k.run, lambda k: functools.partial(Kernel.run, k)],
    ids=["object", "bound method", "partial"],
)
def test_a_step_called_by_its_own_name_counts(build):
    one, two = (acting(None, {}, build(Kernel(k)))[2] for k in (1, 2))
    assert key(one, 1) != key(two, 1)


class Worker(threading.Thread):
    """A thread of the user's own, which holds more than a thread."""

    def fill(self, out):
        out.append(self.name)


def test_a_subclass_of_what_holds_no_value_may_hold_one():
    worker = Worker()

    def function(out):
        worker.fill(out)

    with pytest.raises(UnhashableArgument) as refused:
        key(function, 1)
    assert refused.value.path == "captured worker"


def test_what_acts_and_cannot_be_hashed_is_an_error():
    guard = pytest.importorskip("numpy").errstate(divide="raise")

    def function(x):
        with guard:
            return 1 / x

    with pytest.raises(UnhashableArgument) as refused:
        key(function, 1)
    assert refused.value.path == "captured guard"


def test_everyday_effects_do_not_change_the_key(tmp_path):
    class State:
        seen: ClassVar = []
        runs = 0

        def __init__(self):
            self.rows = []
            self.n = 0

    calls, words, groups, jobs = [], collections.Counter(), collections.defaultdict(list), queue.Queue()
    state, text, buffer, shared = (
        State(),
        io.StringIO(),
        pytest.importorskip("numpy").zeros(3),
        multiprocessing.Value("i"),
    )
    note, n, seen = calls.append, 0, set()
    log, done, lock = logging.getLogger("x"), threading.Event(), threading.Lock()
    info, total = log.info, {"sum": 0.0}

    def function(x):
        nonlocal n
        n += 1
        calls.append(x)
        note(x)
        words[x] += 1
        words.update([x])
        groups[x].append(x)
        jobs.put(x)
        state.rows.append(x)
        state.n += 1
        State.runs += 1
        State.seen.append(x)
        text.write("x")
        stream.write("x")
        buffer[0] += x
        seen.add(x)
        total["sum"] += x
        with lock, shared.get_lock():
            shared.value += 1
        log.info("x")
        info("x")
        done.set()
        return x

    with open(tmp_path / "log", "w", encoding="utf-8") as stream:
        assert captured_values(function) == {}
        before = key(function, 1)
        function(1)
        assert captured_values(function) == {}
        assert key(function, 1) == before


def test_random_numbers_are_never_left_out():
    rng = random.Random(1)

    def function(rows):
        rng.shuffle(rows)
        return rows

    with pytest.raises(UnhashableArgument, match="pass a seed") as refused:
        key(function, [1])
    assert refused.value.path == "captured rng"


def test_locks_loggers_and_modules_are_no_obstacle():
    import logging
    import math

    lock, log, event = threading.Lock(), logging.getLogger("x"), threading.Event()

    def function(x):
        if not event.is_set() and lock.acquire(timeout=1):
            lock.release()
        return math.sin(x), log.name

    assert set(captured_values(function)) == {"math"}
    assert key(function, 1) == key(function, 1)


def test_a_captured_value_that_cannot_be_hashed_is_an_error():
    """Leaving it out would return one closure's result for another's."""
    with open(__file__, "rb") as stream:

        def function():
            return stream.read()

        with pytest.raises(UnhashableArgument) as refused:
            key(function)
    assert refused.value.path == "captured stream"


def test_a_variable_without_a_value_yet():
    def function():
        return later

    before = key(function)
    later = 1
    assert key(function) != before
    assert function() == later


def test_a_recursive_local_function():
    def build(step):
        def function(n):
            return 0 if n <= 0 else 1 + function(n - step)

        return function

    assert key(build(1), 5) == key(build(1), 5) != key(build(2), 5)


def test_super_is_no_captured_value():
    class Base:
        def run(self):
            return 1

    class Child(Base):
        def run(self):
            return super().run() + 1

    assert watched_cells(Child.run) == []


def test_without_a_source_everything_counts():
    space = {}
    exec(
        "def make(calls):\n    def function(x):\n        calls.append(x)\n        return x\n"
        "    return function",
        space,
    )
    calls = []
    function = space["make"](calls)
    before = key(function, 1)
    function(1)
    assert key(function, 1) != before


def test_a_cached_function_is_its_name_and_version():
    def build(body, version):
        body.__qualname__ = "same"
        return cacheable(body, _version=version)

    one, two = build(lambda x: x + 1, 1), build(lambda x: x + 1, 2)
    assert encode(one) != encode(two)
    assert encode(one) == encode(build(lambda x: x + 1, 1))
    assert key(lambda: one, *()) != key(lambda: two)

    def user(f):
        return lambda x: f(x) + 1

    assert key(user(one), 1) != key(user(two), 1)


def with_attribute(value):
    def weighted(x):
        return x * weighted.weight

    weighted.weight = value
    return weighted


def test_attributes_of_a_function_count():
    assert encode(with_attribute(1)) == encode(with_attribute(1)) != encode(with_attribute(2))
    plain = with_attribute(1)
    del plain.weight
    assert encode(plain) != encode(with_attribute(1))

    def user(f):
        return lambda x: f(x) + 1

    assert key(user(with_attribute(1)), 1) != key(user(with_attribute(2)), 1)


def dispatched(step, *more):
    @functools.singledispatch
    def function(x):
        return x

    function.register(int, lambda x: x + step)
    for kind in more:
        function.register(kind, lambda x: x)
    return function


def test_a_function_of_singledispatch_is_what_it_chooses_from():
    assert (
        len({encode(made) for made in (dispatched(1), dispatched(2), dispatched(1, str), dispatched(1))}) == 3
    )
    assert encode(dispatched(1, str, list)) == encode(dispatched(1, list, str))
    used, before = dispatched(1), encode(dispatched(1))
    used(1)
    used("a")
    assert encode(used) == before
    assert encode(used.dispatch) != encode(dispatched(2).dispatch)


@pytest.fixture
def own_store(monkeypatch, tmp_path):
    """Asking for a call's key opens the store."""
    monkeypatch.setenv("SCALABLE_CACHE_DIR", f"{tmp_path / 'store'}")


@pytest.mark.usefixtures("own_store")
def test_a_function_of_singledispatch_can_be_cached():
    one, two = cacheable(dispatched(1)), cacheable(dispatched(2))
    assert one.cache_key(1) == cacheable(dispatched(1)).cache_key(1) != two.cache_key(1)


class Box(Generic[T]):
    def __init__(self, value):
        self.value = value


def test_instances_of_a_generic_class():
    boxes = [Box[int](1), Box[str](1), Box(1), Box[int](2), Box[Box[int]](1), Box[int], Box[str], Box]
    assert len({encode(box) for box in boxes}) == len(boxes)
    assert encode(Box[int](1)) == encode(Box[int](1))


@pytest.mark.parametrize("kind", [collections.OrderedDict, collections.Counter])
def test_attributes_of_a_collection_count(kind):
    def made(note):
        value = kind(a=1)
        value.note = note
        return value

    assert len({encode(value) for value in (kind(a=1), made(1), made(2), made(1))}) == 3


def test_attributes_of_a_partial_count():
    def made(weight):
        function = functools.partial(max, 1)
        if weight:
            function.weight = weight
        return function

    assert len({encode(made(weight)) for weight in (None, 1, 2, 1)}) == 3


def test_an_attribute_whose_name_is_no_text():
    def made(value):
        function = with_attribute(1)
        vars(function)[5] = value
        return function

    assert encode(made(1)) == encode(made(1)) != encode(made(2))


def test_attributes_that_a_function_only_changes_do_not_count():
    def step(x):
        step.calls += 1
        step.seen.append(x)
        return x

    step.calls, step.seen = 0, []
    before = encode(step)
    step(1)
    assert encode(step) == before


def test_what_wraps_copied_does_not_count_twice():
    def wrap(function):
        @functools.wraps(function)
        def wrapper(x):
            return function(x)

        return wrapper

    def plain(x):
        return x

    before = encode(wrap(plain))
    wrapped = wrap(plain)
    wrapped.__wrapped__.late = 1
    assert encode(wrap(plain)) != before  # the function inside has it
    wrapped.__wrapped__.late = wrapped.late = threading.Lock()
    assert encode(wrap(plain)) == before


def closure(step):
    @cacheable
    def added(x):
        return x + step

    return added


def with_default(step):
    @cacheable
    def added(x, step=step):
        return x + step

    return added


def partial(step):
    return cacheable(functools.partial(max, step))


def bound(step):
    return cacheable(Adder(step).added)


def instance(step):
    return cacheable(Adder(step))


class Adder:
    def __init__(self, step):
        self.step = step

    def added(self, x):
        return x + self.step

    __call__ = added


@pytest.mark.parametrize("made", [closure, with_default, partial, bound, instance])
def test_a_cached_function_is_also_what_it_was_made_with(made):
    assert encode(made(1)) == encode(made(1)) != encode(made(2))

    def user(f):
        return lambda x: f(x) + 1

    assert key(user(made(1)), 1) == key(user(made(1)), 1) != key(user(made(2)), 1)


def test_a_cached_function_that_holds_nothing_is_its_identity_alone():
    @cacheable
    def plain(x):
        return x

    def recursive():
        @cacheable
        def down(x):
            return x and down(x - 1)

        return down

    for function in (plain, recursive()):
        identity = function.__scalable_identity__
        parts = (len(identity)).to_bytes(8, "little") + identity
        start = b"o" + encode("cached") + (1).to_bytes(8, "little")
        assert encode(function) == start + b"b" + parts


def test_a_default_without_an_encoding_counts_by_its_place():
    def make():
        @cacheable
        def function(x, missing=object()):  # noqa: B008
            return x

        return function

    assert encode(make()) == encode(make())


@pytest.mark.usefixtures("own_store")
def test_a_cached_function_may_be_cached_again():
    def make(step):
        return cacheable(closure(step))

    assert make(1).cache_key(1) == make(1).cache_key(1) != make(2).cache_key(1)
    assert cacheable(Cached(1).added).cache_key(1) != cacheable(Cached(2).added).cache_key(1)


class Cached:
    def __init__(self, step):
        self.step = step

    @cacheable
    def added(self, x):
        return x + self.step


def test_a_decorator_above_a_cached_function_is_not_the_cached_function():
    from tests.keys.test_call import retrying

    @cacheable
    def inner(x):
        return x

    assert encode(retrying(3)(inner)) != encode(inner)
    assert encode(retrying(3)(inner)) != encode(retrying(4)(inner))


# --- local classes -----------------------------------------------------------------------------------------


def test_a_local_class_is_its_methods_too():
    def build(text):
        space = {"__name__": __name__}
        if text == "plus":

            class Model:
                def run(self, x):
                    return x + 1

        else:

            class Model:
                def run(self, x):
                    return x - 1

        del space
        return Model

    assert encode(build("plus")) == encode(build("plus")) != encode(build("minus"))
    assert encode(build("plus")()) == encode(build("plus")()) != encode(build("minus")())


def test_a_local_class_with_a_captured_value():
    def build(k):
        class Model:
            factor = k

            def run(self, x):
                return x * k

        return Model

    assert encode(build(1)()) == encode(build(1)()) != encode(build(2)())


def test_a_counter_on_a_local_class_does_not_change_its_key():
    class Model:
        runs = 0
        seen = []  # noqa: RUF012

        def run(self, x):
            Model.runs += 1
            self.seen.append(x)
            return x

    before = encode(Model())
    Model().run(1)
    assert encode(Model()) == before


def slotted(k):
    @dataclasses.dataclass(slots=True)
    class Model:
        n: int = k

    return Model


def listed(k):
    class Model(enum.Enum):
        ONE = k

    return Model


def assigned_anew(k):
    global Anew

    class Anew:
        factor = k

    return Anew


class AllEqual(type):
    def __eq__(cls, other):
        return True

    def __hash__(cls):
        return 1


def attrs_class(**said):
    attr = pytest.importorskip("attr")
    return attr.make_class("Made", {"x": attr.ib(**said)})


MADE = {
    "order of a dataclass": lambda k: dataclasses.make_dataclass("Made", ["a"], order=k == 1),
    "eq of a dataclass": lambda k: dataclasses.make_dataclass("Made", ["a"], eq=k == 1),
    "frozen dataclass": lambda k: dataclasses.make_dataclass("Made", ["a"], frozen=k == 1),
    "a field that is not compared": lambda k: dataclasses.make_dataclass(
        "Made", [("a", int, dataclasses.field(compare=k == 1))]
    ),
    "converter of attrs": lambda k: attrs_class(converter=[None, int, str][k]),
    "eq of a field of attrs": lambda k: attrs_class(eq=k == 1),
    "metaclass": lambda k: type("Meta", (type,), {"number": k})("Made", (), {}),
    "another metaclass": lambda k: (type, AllEqual, AllEqual)[k - 1]("Made", (), {}),
    "slots": lambda k: type("Made", (), {"__slots__": (f"a{k}",)}),
    "type": lambda k: type("Made", (), {"K": k}),
    "dataclass": lambda k: dataclasses.make_dataclass("Made", [("a", int, k)]),
    "fields of a dataclass": lambda k: dataclasses.make_dataclass("Made", [f"a{k}"]),
    "factory of a dataclass": lambda k: dataclasses.make_dataclass(
        "Made", [("a", list, dataclasses.field(default_factory=lambda: [k]))]
    ),
    "enum": lambda k: enum.Enum("Made", {"K": k}),
    "namedtuple": lambda k: collections.namedtuple("Made", [f"a{k}"]),
    "defaults of a namedtuple": lambda k: collections.namedtuple("Made", "a", defaults=[k]),
    "NamedTuple": lambda k: NamedTuple("Made", [(f"a{k}", int)]),
    "attrs": lambda k: pytest.importorskip("attr").make_class(
        "Made", {"x": pytest.importorskip("attr").ib(default=k)}
    ),
    "pydantic": lambda k: pytest.importorskip("pydantic").create_model("Made", n=(int, k)),
    "local dataclass with slots": slotted,
    "local enum": listed,
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_a_class_made_at_run_time_is_its_definition(make):
    assert encode(make(1)) == encode(make(1)) != encode(make(2))


class North(metaclass=AllEqual):
    pass


class South(str, metaclass=AllEqual):
    __slots__ = ()


class East(metaclass=AllEqual):
    def __scalable_key__(self):
        return 1


def test_classes_that_call_themselves_equal_are_told_apart():
    values = [North(), South("a"), East(), North, South, East]
    assert len({encode(value) for value in values}) == len({key(lambda x: x, value) for value in values}) == 6
    assert encode([North(), South("a")]) == encode([North(), South("a")])


@pytest.mark.usefixtures("own_store")
def test_the_outline_of_an_object_whose_class_calls_itself_equal():
    @cacheable
    def told(where):
        return type(where).__name__

    assert [told(place) for place in (North(), South("a"), North())] == ["North", "South", "North"]


def test_a_class_whose_name_means_another_one_by_now():
    one, two = assigned_anew(1), assigned_anew(2)
    assert encode(one) != encode(two)


def test_instances_of_classes_made_at_run_time():
    one, two = (MADE["type"](k)() for k in (1, 2))
    assert encode(one) != encode(two)
    assert encode(collections.namedtuple("Made", "a")(1)) == encode(collections.namedtuple("Made", "a")(1))


class Outer:
    class Inner:
        pass

    class __Private:
        pass


Pair = collections.namedtuple("Pair", "a b")
Level = enum.Enum("Level", "LOW HIGH")


@dataclasses.dataclass(slots=True)
class Slotted:
    x: int = 1


@pytest.mark.parametrize(
    "kind",
    [
        *(Outer, Outer.Inner, vars(Outer)["_Outer__Private"], Pair, Level, Slotted),
        *(Kernel, int, type(None), type(len), collections.Counter, enum.Enum),
    ],
)
def test_a_class_that_its_module_has_is_its_name(kind):
    assert is_everywhere(kind)


def test_a_class_of_a_module_that_nobody_knows_by_its_name():
    """As runpy and loaders of plugins run a file."""
    space = {"__name__": "a_plugin"}
    exec("class Plugin:\n    def run(self):\n        return 1\n", space)
    assert is_everywhere(space["Plugin"])
    first = space.pop("Plugin")
    assert not is_everywhere(first)


# --- registration ------------------------------------------------------------------------------------------


def test_registered_types():
    class Ring:
        def __init__(self, n):
            self.n = n
            self.lock = threading.Lock()

    class Sub(Ring):
        pass

    from scalable_cas.keys.nodes import Refused

    with pytest.raises(Refused):
        encode(Ring(1))
    register_key(Ring, lambda ring: ring.n)
    assert encode(Ring(1)) == encode(Ring(1)) != encode(Ring(2))
    assert encode(Sub(1)) != encode(Ring(1))
    one = encode(Sub(1))
    register_key(Sub, lambda sub: (sub.n, "sub"))
    assert encode(Sub(1)) != one
    assert encode([Ring(1)]) != encode([1])


@pytest.mark.parametrize(
    "wrong", [(int, repr), (dict, repr), (object, repr), ("int", repr), (threading.Thread, 3)]
)
def test_what_cannot_be_registered(wrong):
    with pytest.raises(TypeError):
        register_key(*wrong)
