"""CONTRACT section 2, as far as this version goes: what a decorated function does."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import sys
import threading
import time
import warnings
from datetime import timedelta

import pytest

from scalable_cas import CacheWarning, ObjectType, Store, UnhashableArgument, ValueType
from scalable_cas.caching import DirType, FileType, cacheable

runs: list[object] = []


@pytest.fixture(autouse=True)
def _fresh(workdir, monkeypatch):
    runs.clear()
    # a process finds its store once; each test wants its own
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(workdir / "cache"))


@cacheable
def square(x):
    runs.append(x)
    return x * x


@cacheable(x=int)
def declared(x, y=0):
    runs.append(x)
    return type(x).__name__, x, y


def test_second_call_is_a_hit_and_equal():
    assert [square(4), square(4), square(x=4)] == [16, 16, 16]
    assert runs == [4]


def test_types_and_positions_are_told_apart():
    @cacheable
    def echo(a, b=None):
        runs.append((a, b))
        return repr((a, b))

    calls = [(1,), (1.0,), ("1",), (True,), (b"1",), ((1,),), ([1],), (1, 2), (2, 1), ([1, 2],), ((1, 2),)]
    assert [echo(*call) for call in calls] == [repr((*call, None)[:2]) for call in calls]
    assert [echo(*call) for call in calls] == [repr((*call, None)[:2]) for call in calls]
    assert len(runs) == len(calls)


@pytest.mark.parametrize("result", [None, False, 0, [], "", b"", {}, 0.0])
def test_empty_results_are_results(result):
    @cacheable
    def give(kind):
        runs.append(kind)
        return result

    got = [give(repr(result)), give(repr(result))]
    assert got == [result, result]
    assert type(got[1]) is type(result)
    assert len(runs) == 1


def test_every_form_of_the_decorator():
    def plain(x):
        return x

    for decorator in (
        cacheable,
        cacheable(),
        cacheable(ValueType),
        cacheable(return_type=int),
        cacheable(return_type=int, x=int),
    ):
        wrapped = decorator(plain)
        assert wrapped(3) == 3
        assert wrapped.__wrapped__ is plain


def test_void_is_never_cached():
    @cacheable(void=True)
    def effect(x):
        runs.append(x)

    effect(1), effect(1)
    assert runs == [1, 1]
    assert not effect.is_cached(1)


def test_recompute_runs_and_replaces():
    def body(x):
        runs.append(x)
        return len(runs)

    wrapped, forced = cacheable(body), cacheable(recompute=True)(body)
    first = wrapped(1)
    assert forced(1) == first + 1
    assert wrapped(1) == first + 1


def test_store_false_looks_up_and_writes_nothing():
    def body(x):
        runs.append(x)
        return x

    reader, writer = cacheable(store=False)(body), cacheable(body)
    assert (reader(1), reader(1), len(runs)) == (1, 1, 2)
    writer(1)
    reader(1)
    assert len(runs) == 3


def test_bypass_runs_replaces_and_counts_as_a_miss():
    square(3)
    before = square.cache_info()
    assert square(3, _cache_bypass=True) == 9
    after = square.cache_info()
    assert (after.misses, after.hits) == (before.misses + 1, before.hits)
    assert square(3, _cache_bypass=False) == 9
    assert runs == [3, 3]


def test_ttl_is_judged_when_an_entry_is_read():
    def body(x):
        runs.append(x)
        return x

    forever, brief = cacheable(body), cacheable(_ttl=timedelta(milliseconds=50))(body)
    brief(1), brief(1)
    assert len(runs) == 1
    time.sleep(0.06)  # the age itself is what is tested
    assert brief.is_cached(1) is False
    assert forever.is_cached(1) is True
    brief(1)
    assert len(runs) == 2


def test_cache_if_keeps_a_result_from_being_stored():
    @cacheable(_cache_if=lambda result: result > 2)
    def give(x):
        runs.append(x)
        return x

    assert [give(1), give(1), give(3), give(3)] == [1, 1, 3, 3]
    assert runs == [1, 1, 3]


def test_ignored_arguments_and_version():
    @cacheable(_ignore=("log",))
    def with_log(x, log=None):
        runs.append(x)
        return x

    assert with_log(1, log=threading.Lock()) == with_log(1, log=open(__file__).close()) == 1
    assert runs == [1]

    def body(x):
        return x

    keys = {cacheable(_version=version)(body).cache_key(1) for version in (None, 1, "1", 2)}
    assert len(keys) == 4


@pytest.mark.parametrize("version", [2**64, -(2**63) - 1, int("f" * 40, 16), 2**64 - 1, -(2**63)])
def test_an_integer_of_any_length_is_a_version(version):
    def body(x):
        runs.append(x)
        return x

    cached, text = cacheable(_version=version)(body), cacheable(_version=hex(version))(body)
    assert [cached(1), cached(1)] == [1, 1]
    assert cached.cache_info().entries == 1  # it was written, not only queued
    assert runs == [1]
    assert text.is_cached(1) is False  # what stands in the record for one that is too long is another version
    told = cacheable(_version="1")(body).explain(1).reason
    assert f"_version was {version} " in told or f"_version was {hex(version)!r} " in told


@pytest.mark.parametrize("ttl", [timedelta.max, sys.maxsize, 10**400, 1e300, 600 * 365 * 86400])
def test_a_ttl_longer_than_anybody_waits_is_none(ttl):
    @cacheable(_ttl=ttl)
    def body(x):
        runs.append(x)
        return x

    assert [body(1), body(1)] == [1, 1]
    assert body.cache_info().entries == 1
    assert runs == [1]


@pytest.mark.parametrize(
    "options",
    [
        {"nonsense": int},
        {"_ignore": ("nonsense",)},
        {"_arg_types": {"nonsense": int}},
        {"_version": 1.5},
        {"_ttl": "1h"},
        {"_store": 3},
    ],
)
def test_wrong_options_are_type_errors_at_decoration(options):
    with pytest.raises(TypeError):
        cacheable(**options)(lambda x: x)


def test_a_generator_function_is_refused_with_the_remedy():
    with pytest.raises(TypeError, match="list"):

        @cacheable
        def items(n):
            yield from range(n)

    with pytest.raises(TypeError, match="list"):

        @cacheable
        async def aitems(n):
            yield n


def test_declared_types_convert_without_loss_and_the_function_gets_the_converted():
    np = pytest.importorskip("numpy")
    assert declared(np.int64(42)) == ("int", 42, 0)
    assert declared(42) == ("int", 42, 0)
    assert len(runs) == 1
    for wrong in ("1", 1.0, b"1"):
        with pytest.raises(TypeError):
            declared(wrong)
    assert declared(None) == ("NoneType", None, 0)


def test_arg_types_declares_names_that_collide():
    @cacheable(_arg_types={"store": int, "void": str})
    def f(store, void):
        return store, void

    assert f(1, "a") == (1, "a")
    with pytest.raises(TypeError):
        f("1", "a")


def test_unhashable_argument_names_function_argument_and_path():
    class Model:
        def __init__(self):
            self.loss = threading.Lock()

    with pytest.raises(UnhashableArgument) as caught:
        square({"model": Model()})
    text = str(caught.value)
    assert 'x["model"].loss' in text
    assert "square" in text
    assert "_ignore" in text
    assert isinstance(caught.value, TypeError)
    assert runs == []


def test_missing_file_input(workdir):
    @cacheable(path=FileType)
    def read(path):
        return (workdir / path).read_text()

    for kind in (FileNotFoundError, ValueError):
        with pytest.raises(kind):
            read("missing.txt")
    (workdir / "a.txt").write_text("one")
    assert read("a.txt") == "one"
    (workdir / "b.txt").write_text("one")
    assert read("b.txt") == "one"
    assert read.cache_info().misses == 1
    (workdir / "a.txt").write_text("two")
    assert read("a.txt") == "two"


def test_directory_input_by_content(workdir):
    @cacheable(folder=DirType)
    def names(folder):
        return sorted(p.name for p in __import__("pathlib").Path(folder).iterdir())

    for name in ("one", "two"):
        (workdir / name).mkdir()
        (workdir / name / "x").write_text("1")
    assert names("one") == names("two") == ["x"]
    assert names.cache_info().misses == 1


def test_an_input_that_changes_while_the_function_runs_is_returned_and_not_stored(workdir):
    @cacheable(path=FileType)
    def append(path):
        text = (workdir / path).read_text()
        (workdir / path).write_text(text + "x")
        return len(text)

    (workdir / "f").write_text("a")
    with pytest.warns(CacheWarning, match="changed"):
        assert append("f") == 1
    assert append.cache_info().entries == 0


def test_exceptions_pass_and_are_not_cached():
    @cacheable
    def fail(x):
        runs.append(x)
        raise KeyError(x)

    for _ in range(2):
        with pytest.raises(KeyError):
            fail(1)
    assert runs == [1, 1]


def test_a_callers_change_is_not_seen_by_the_next():
    @cacheable
    def give(x):
        return {"list": [1, 2]}

    for _ in range(3):
        result = give(1)
        assert result == {"list": [1, 2]}
        result["list"].append(3)


def test_a_result_that_cannot_be_stored_is_returned_with_one_warning():
    @cacheable
    def lock(x):
        return threading.Lock()

    with pytest.warns(CacheWarning) as caught:
        results = [lock(1), lock(1)]
    assert None not in results
    assert len(caught) == 1


def test_introspection_and_pickling():
    assert square.__name__ == "square"
    assert inspect.signature(square) == inspect.signature(square.__wrapped__)
    assert pickle.loads(pickle.dumps(square)) is square
    assert len(square.cache_key(1)) == 64
    assert set("0123456789abcdef") >= set(square.cache_key(1))


def test_attached_functions():
    assert square.is_cached(5) is False
    square(5), square(6)
    assert square.is_cached(5) is True
    assert runs == [5, 6]
    info = square.cache_info()
    assert (info.entries, info.size > 0) == (2, True)
    assert square.cache_forget(5) is True
    assert square.cache_forget(5) is False
    assert square.is_cached(5) is False
    assert square.cache_clear() == 1
    assert square.cache_info().entries == 0


def test_explain_names_the_argument_that_differs():
    @cacheable
    def f(a, b, c=3):
        return a

    empty = f.explain(1, 2)
    assert (empty.hit, empty.differs) == (False, [])
    f(1, 2)
    assert f.explain(1, 2).hit is True
    other = f.explain(1, 5)
    assert (other.hit, other.differs) == (False, ["b"])
    assert "b" in str(other)


def test_methods_class_and_static_methods_in_either_order():
    class Box:
        def __init__(self, n):
            self.n = n

        @cacheable
        def add(self, x):
            runs.append("add")
            return self.n + x

        @cacheable
        @classmethod
        def above(cls, x):
            return cls.__name__, x

        @classmethod
        @cacheable
        def below(cls, x):
            return cls.__name__, x

        @cacheable
        @staticmethod
        def static(x):
            return x

        @staticmethod
        @cacheable
        def static2(x):
            return x

    class Sub(Box):
        pass

    assert (Box(1).add(1), Box(1).add(1), Box(2).add(1)) == (2, 2, 3)
    assert runs == ["add", "add"]
    assert Box.above(1) == ("Box", 1)
    assert Sub.above(1) == Sub(0).above(1) == ("Sub", 1)
    assert Box.below(1) == ("Box", 1)
    assert Sub.below(1) == ("Sub", 1)
    assert Box.static(1) == Box(0).static2(1) == 1


class Shelf:
    @cacheable
    def height(self, x=1):
        return x

    @classmethod
    @cacheable
    def width(cls, x=1):
        return x

    @staticmethod
    @cacheable
    def depth(x=1):
        return x


class Case(Shelf):
    pass


@pytest.mark.parametrize("name", ["cache_key", "is_cached", "cache_forget", "explain"])
def test_an_argument_of_a_method_is_never_taken_for_its_object(name):
    for thing, method, kind in ((Case(), "height", Shelf), (Case, "width", Case), (Case(), "width", Case)):
        bound = getattr(thing, method)
        bound(2)
        with pytest.raises(TypeError, match=rf"Shelf\.{method}: .*give (self|cls) too"):
            getattr(bound, name)(2)
        whole = thing if method == "height" else kind
        assert getattr(getattr(Shelf, method), name)(whole, 2)
    free = cacheable(Shelf().height.__wrapped__.__get__(Shelf()))  # bound before it was decorated
    assert free(2) == Shelf.depth(2) == 2
    assert free.is_cached(2) is True
    assert getattr(Shelf().depth, name)(2)


def test_async_functions_stay_async_and_run_once():
    @cacheable
    async def slow(x):
        runs.append(x)
        await asyncio.sleep(0.02)
        return {"x": x}

    assert inspect.iscoroutinefunction(slow)

    async def several():
        return await asyncio.gather(*(slow(1) for _ in range(5)))

    results = asyncio.run(several())
    assert results == [{"x": 1}] * 5
    assert len({id(result) for result in results}) == 5
    assert runs == [1]


def test_threads_run_once_and_each_gets_its_own():
    @cacheable
    def slow(x):
        runs.append(x)
        time.sleep(0.05)  # the function is slow: that is what makes the calls overlap
        return [x]

    results = []
    threads = [threading.Thread(target=lambda: results.append(slow(1))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[1]] * 8
    assert runs == [1]
    assert len({id(result) for result in results}) == 8


def test_closures_are_told_apart_but_effects_do_not_count():
    def make(k):
        @cacheable
        def add(x):
            return x + k

        return add

    assert (make(1)(5), make(100)(5), make(1)(5)) == (6, 105, 6)
    calls = []

    @cacheable
    def counted(x):
        calls.append(x)
        return x

    counted(1), counted(1)
    assert calls == [1]


def test_store_option_takes_a_path_and_an_open_store(workdir):
    def body(x):
        runs.append(x)
        return x

    by_path = cacheable(_store=workdir / "other")(body)
    by_path(1)
    with Store.open(workdir / "other") as store:
        by_store = cacheable(_store=store)(body)
        assert by_store(1) == 1
        assert [entry.function for entry in store.entries()] == [
            by_store.__module__ + "." + body.__qualname__
        ]
    assert runs == [1]


def test_switching_the_cache_off_and_moving_it(monkeypatch, workdir):
    square(2)
    monkeypatch.setenv("SCALABLE_CACHE", "off")
    square(2)
    assert runs == [2, 2]
    monkeypatch.delenv("SCALABLE_CACHE")
    square(2)
    assert runs == [2, 2]
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(workdir / "second"))
    square(2)
    assert runs == [2, 2, 2]


def test_the_seed_salts_every_key(monkeypatch):
    keys = {square.cache_key(1)}
    for seed in ("", "a"):
        monkeypatch.setenv("SCALABLE_SEED", seed)
        keys.add(square.cache_key(1))
    assert len(keys) == 3


def test_a_wrong_call_raises_what_the_plain_function_raises():
    with pytest.raises(TypeError, match="square"):
        square()
    with pytest.raises(TypeError, match="unexpected"):
        square(1, y=2)


def test_dict_order_does_not_count_but_keyword_boundaries_do():
    @cacheable
    def f(*args, **kwargs):
        runs.append(1)
        return args, kwargs

    f({"a": 1, "b": 2}), f({"b": 2, "a": 1})
    assert len(runs) == 1
    f(a=1, b=2), f(b=2, a=1)
    assert len(runs) == 2
    f(1, 2), f((1, 2)), f([1, 2])
    assert len(runs) == 5


def test_objects_with_custom_pickling_need_object_type():
    class Odd:
        def __reduce__(self):
            return Odd, ()

    with pytest.raises(UnhashableArgument):
        square(Odd())

    @cacheable(x=ObjectType)
    def kind(x):
        return type(x).__name__

    assert kind(Odd()) == "Odd"


def test_removing_the_folder_clears_the_store_of_a_running_process(workdir):
    import shutil

    square(7)
    square(7)
    shutil.rmtree(workdir / "cache")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert square(7) == 49
        assert runs == [7, 7]
        assert square(7) == 49
    assert runs == [7, 7]
    shutil.rmtree(workdir / "cache")
    assert square(8) == 64
    assert square.is_cached(8)
