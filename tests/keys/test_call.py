"""From a call to its key: binding, names, versions, ignored and declared arguments, captured variables,
identity.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import pickle
import threading

import numpy as np
import pytest

from scalable_cas.errors import UnhashableArgument
from scalable_cas.keys.call import CallKeyer
from scalable_cas.keys.wrappers import FileType, GenericType, ObjectType, UtilityType, ValueType

from .samples import Digested, Lengthy, Level, Plain, Text, add


def keyer(function, **options):
    return CallKeyer(function, arg_types=options.pop("types", {}), **options)


def key(made, *args, **kwargs):
    return made.bind(args, kwargs, None)[0]


def everything(a, b=2, /, c=3, *rest, d, e=5, **more):
    return a


def sub(x, y):
    return x - y


# --- the faults of the predecessor (those of files and types are in the other modules)


def test_arguments_do_not_change_places():
    made = keyer(sub)
    assert key(made, 10, 3) != key(made, 3, 10)
    assert key(made, x=10, y=3) != key(made, x=3, y=10)
    assert key(made, x="y", y="x") != key(made, x="x", y="y")
    three = keyer(lambda a, b, c: None)
    assert len({key(three, *order) for order in itertools.permutations("abc")}) == 6


def test_no_collision_among_many():
    """32-bit keys of the predecessor had 9 among 300,000; its 25688 and 96525 were one for most functions."""
    made = keyer(lambda x: x)
    assert key(made, 25688) != key(made, 96525)
    assert len({key(made, i) for i in range(30_000)}) == 30_000


def test_same_text_in_two_modules_is_two_functions():
    texts = {}
    for name in ("mod_a", "mod_b"):
        space = {"__name__": name}
        exec("def run(x):\n    return x * K\n", space)
        texts[name] = space["run"]
    assert key(keyer(texts["mod_a"]), 1) != key(keyer(texts["mod_b"]), 1)


def test_a_keyword_only_default_is_the_same_given_or_not():
    made = keyer(lambda x, *, k=1: x)
    assert key(made, 1) == key(made, 1, k=1) != key(made, 1, k=2)


def test_an_unknown_name_is_an_error_at_decoration():
    for options in ({"types": {"z": int}}, {"ignore": ("z",)}, {"types": {"arg_types": {}}}):
        with pytest.raises(TypeError, match="has no argument"):
            keyer(sub, **options)


def test_huge_integers():
    assert key(keyer(sub), 10**5000, 1) != key(keyer(sub), 10**5000 + 1, 1)


# --- binding -----------------------------------------------------------------------------------------------


def test_however_an_argument_is_passed():
    made = keyer(everything)
    one = key(made, 1, 2, 3, d=4)
    assert one == key(made, 1, d=4) == key(made, 1, 2, c=3, d=4) == key(made, 1, d=4, e=5, c=3)
    assert one != key(made, 1, 2, 3, 0, d=4)
    assert one != key(made, 1, d=4, z=0)
    assert one != key(made, 1, d=5)


def test_keywords_beyond_the_parameters():
    made = keyer(everything)
    assert key(made, 1, d=4, y=1, z=2) == key(made, 1, z=2, d=4, y=1)
    assert key(made, 1, d=4, y=1) != key(made, 1, d=4, z=1)
    # a positional-only name may come again as a keyword of **more
    assert (
        len({key(made, 1, d=4, a=2), key(made, 2, d=4, a=1), key(made, 1, 2, d=4), key(made, 1, d=4, b=2)})
        == 4
    )


def test_positional_arguments_beyond_the_parameters_count_in_order():
    made = keyer(lambda *args: None)
    calls = [(), (1,), (1, 2), (2, 1), ((1, 2),), ([1, 2],), (1, (2,)), (None,)]
    assert len({key(made, *args) for args in calls}) == len(calls)


def test_names_in_other_order_are_the_same_call():
    assert (
        keyer(lambda a, b: 0).name
        == "tests.keys.test_call.test_names_in_other_order_are_the_same_call.<locals>.<lambda>"
    )
    spaces = []
    for parameters in ("a, b", "b, a", "*, b, a"):
        space = {"__name__": "other_order"}
        exec(f"def run({parameters}):\n    pass", space)
        spaces.append(space["run"])
    keys = [
        CallKeyer(f, arg_types={}, known_as=("m:run", None)).bind((), {"a": 1, "b": 2}, None)[0]
        for f in spaces
    ]
    assert len(set(keys)) == 1


@pytest.mark.parametrize(
    "args, kwargs",
    [
        ((), {}),
        ((1,), {}),
        ((), {"a": 1, "d": 1}),
        ((1, 2, 3), {"c": 1, "d": 2}),
        ((1,), {"c": 1, "b": 1}),
    ],
)
def test_a_wrong_call_raises_what_python_raises(args, kwargs):
    with pytest.raises(TypeError) as expected:
        everything(*args, **kwargs)
    with pytest.raises(TypeError) as raised:
        keyer(everything).bind(args, kwargs, None)
    assert str(raised.value) == str(expected.value)


@pytest.mark.parametrize(
    "args, kwargs", [((), {}), ((1,), {}), ((1, 2, 3), {}), ((1, 2), {"y": 1}), ((1, 2), {"z": 1})]
)
def test_a_wrong_call_of_a_simple_function(args, kwargs):
    with pytest.raises(TypeError) as expected:
        sub(*args, **kwargs)
    with pytest.raises(TypeError) as raised:
        keyer(sub).bind(args, kwargs, None)
    assert str(raised.value) == str(expected.value)


def test_what_comes_back_are_the_same_objects():
    args, kwargs = ([1],), {"y": {"a": 2}}
    _, new_args, new_kwargs, inputs, _ = keyer(sub).bind(args, kwargs, None)
    assert new_args[0] is args[0]
    assert new_kwargs["y"] is kwargs["y"]
    assert inputs == ()


def test_keywords_that_are_a_subclass_of_str():
    assert key(keyer(sub), 1, **{Text("y"): 2}) == key(keyer(sub), 1, y=2)
    assert key(keyer(everything), 1, d=2, **{Text("q"): 2}) != key(keyer(everything), 1, d=2, q=2)


def test_no_arguments():
    made = keyer(lambda: 1)
    assert key(made) == key(made)
    assert len(key(made)) == 32


def test_defaults_that_change_are_read_at_each_call():
    default = {"n": 1}

    def function(x, config=default):
        return x

    made = keyer(function)
    before = key(made, 1)
    default["n"] = 2
    assert key(made, 1) != before
    assert key(made, 1, {"n": 1}) == before


def test_a_default_without_an_encoding_counts_as_itself():
    missing, other = object(), object()
    made = keyer(lambda x, a=missing, b=other: x)
    assert key(made, 1) == key(made, 1)
    assert key(made, 1, 2) != key(made, 1) != key(made, 1, b=2)
    with pytest.raises(UnhashableArgument):
        key(made, 1, object())


def test_async_functions_and_generators_bind_like_others():
    async def function(x, y=2):
        return x

    made = keyer(function)
    assert key(made, 1) == key(made, 1, 2) != key(made, 2)
    with pytest.raises(TypeError, match="missing 1 required"):
        key(made)
    assert asyncio.run(function(1)) == 1


# --- odd callables -----------------------------------------------------------------------------------------


def test_partial_is_the_function_with_its_arguments():
    made = keyer(functools.partial(add, 1, c=5))
    assert key(made, 2) == key(keyer(add), 1, 2, c=5)
    assert key(made, 2, c=6) == key(keyer(add), 1, 2, c=6)
    assert key(keyer(functools.partial(functools.partial(add, 1), 2))) == key(keyer(add), 1, 2)
    declared = keyer(functools.partial(add, 1), types={"b": int})
    assert declared.bind((np.int64(2),), {}, None)[1] == (2,)


def test_functions_in_c():
    assert key(keyer(len), [1]) != key(keyer(len), [2]) != key(keyer(sum), [2])
    assert key(keyer(print), 1, sep="") != key(keyer(print), 1, sep="x")
    assert key(keyer(max), 1, 2) != key(keyer(max), 2, 1)
    with pytest.raises(TypeError, match="has no argument"):
        keyer(max, types={"iterable": FileType})


def test_what_a_method_is_bound_to_is_an_input():
    assert key(keyer(Plain(1).method), 5) != key(keyer(Plain(2).method), 5)
    assert key(keyer(Plain.method), Plain(1), 5) == key(keyer(Plain.method), Plain(1), 5)
    assert key(keyer([1].count), 1) != key(keyer([2].count), 1)


def test_an_object_that_can_be_called_is_an_input():
    class Model:
        def __init__(self, k):
            self.k = k

        def __call__(self, x):
            return x * self.k

    assert key(keyer(Model(1)), 5) != key(keyer(Model(2)), 5)
    assert key(keyer(Model(1)), 5) == key(keyer(Model(1)), x=5)


def retrying(times):
    def decorate(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs) + times

        return wrapper

    return decorate


@retrying(3)
def decorated(x, y=2):
    return x


def test_another_decorator_below():
    made = keyer(decorated)
    assert made.name == "tests.keys.test_call.decorated"
    assert key(made, 1) != key(made, 2)
    # a wrapper may tell these apart, so we do
    assert key(made, 1) != key(made, x=1)
    assert key(keyer(decorated, types={"x": int}), True) == key(made, 1)
    assert key(keyer(decorated, ignore=("x",)), 1) == key(keyer(decorated, ignore=("x",)), 2)
    again = retrying(4)(decorated.__wrapped__)
    assert key(keyer(again), 1) != key(made, 1)


def test_the_code_below_another_decorator_is_not_in_the_key():
    def one(x):
        return x

    def two(x):
        return x + 1

    two.__qualname__ = one.__qualname__
    assert key(keyer(retrying(3)(one)), 1) == key(keyer(retrying(3)(two)), 1)


def test_a_decorator_that_adds_an_argument():
    def with_session(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function("session", *args, **kwargs)

        return wrapper

    def load(session, table):
        return table

    made = keyer(with_session(load))
    assert key(made, "a") != key(made, "b")
    with pytest.raises(TypeError, match="do not fit the function inside its decorator"):
        key(keyer(with_session(load), types={"table": FileType}), "a.csv")


# --- version, seed, identity -------------------------------------------------------------------------------


def test_versions():
    keys = [key(keyer(sub, version=v), 1, 2) for v in (None, 1, 2, "1", "", "None")]
    assert len(set(keys)) == len(keys)
    for wrong in (True, 1.0, b"1", np.int64(1)):
        with pytest.raises(TypeError, match="_version"):
            keyer(sub, version=wrong)


def test_versions_share_a_function_id():
    assert keyer(sub, version=1).fnid == keyer(sub).fnid != keyer(add).fnid
    assert len(keyer(sub).fnid) == 8
    assert keyer(sub, version=1).identity != keyer(sub).identity


@pytest.mark.parametrize("function", [sub, everything, lambda x, y: 0])
def test_seeds(function):
    made = keyer(function)
    kwargs = {"d": 1} if function is everything else {}
    keys = [made.bind((1, 2), kwargs, seed)[0] for seed in (None, "", "a", "b", "None")]
    assert len(set(keys)) == len(keys)
    assert made.bind((1, 2), kwargs, "a")[0] == keys[2]


def test_names():
    assert keyer(sub).name == "tests.keys.test_call.sub"
    assert keyer(Plain.method).name == "tests.keys.samples.Plain.method"
    assert keyer(len).name == "builtins.len"


def test_two_functions_two_keys():
    assert key(keyer(add), 1, 2) != key(keyer(sub), 1, 2)


def test_a_keyer_pickles_with_what_it_found():
    made = keyer(sub, version=3, ignore=("y",), types={"x": int})
    again = pickle.loads(pickle.dumps(made))
    assert again.bind((1, 2), {}, None)[:4] == made.bind((1, 2), {}, None)[:4]
    assert (again.name, again.fnid, again.identity) == (made.name, made.fnid, made.identity)
    elsewhere = CallKeyer(sub, arg_types={}, known_as=("my.script:sub", None))
    assert pickle.loads(pickle.dumps(elsewhere)).fnid == elsewhere.fnid != keyer(sub).fnid


# --- ignored -----------------------------------------------------------------------------------------------


def test_ignored_arguments_need_no_encoding():
    made = keyer(sub, ignore=("y",))
    assert key(made, 1, threading.Lock()) == key(made, 1, 2) != key(made, 2, 2)
    assert key(made, 1, 2) != key(keyer(sub), 1, 2)
    everywhere = keyer(everything, ignore=("rest", "more", "zz"))
    assert key(everywhere, 1, 2, 3, 4, 5, d=1, zz=1) == key(everywhere, 1, d=1)


def test_ignored_keyword_of_many():
    made = keyer(everything, ignore=("verbose",))
    assert key(made, 1, d=1, verbose=True) == key(made, 1, d=1) != key(made, 1, d=1, verbos=True)


def test_an_ignored_captured_variable():
    def make(stream):
        def function(x):
            return stream.read(x)

        return function

    with open(__file__) as stream:
        with pytest.raises(UnhashableArgument) as refused:
            key(keyer(make(stream)), 1)
        assert "captured stream" in str(refused.value)
        assert key(keyer(make(stream), ignore=("stream",)), 1)


# --- declared ----------------------------------------------------------------------------------------------

ACCEPTED = [
    (int, 42, 42),
    (int, np.int64(42), 42),
    (int, np.uint8(42), 42),
    (int, np.array(42), 42),
    (int, True, 1),
    (int, Level.LOW, 1),
    (int, 2**70, 2**70),
    (float, 1.5, 1.5),
    (float, np.float64(1.5), 1.5),
    (float, np.float32(1.5), 1.5),
    (float, 2, 2.0),
    (float, 2**53, 2.0**53),
    (bool, True, True),
    (bool, np.bool_(False), False),
    (str, "a", "a"),
    (str, np.str_("a"), "a"),
    (str, Text("a"), "a"),
    (bytes, b"a", b"a"),
    (bytes, np.bytes_(b"a"), b"a"),
    (list[int], [np.int64(1), 2], [1, 2]),
    (tuple[float, ...], (1, 2.0), (1.0, 2.0)),
    (dict[str, int], {"a": np.int64(1)}, {"a": 1}),
    (int | None, np.int64(1), 1),
]
REFUSED = [
    (int, "1"),
    (int, 1.0),
    (int, np.float64(1)),
    (int, np.timedelta64(1, "s")),
    (int, np.array([1])),
    (int, np.bool_(1)),
    (float, "1.5"),
    (float, True),
    (float, 2**53 + 1),
    (float, 10**400),
    (float, np.longdouble(1)),
    (float, 1j),
    (bool, 1),
    (bool, "True"),
    (str, b"a"),
    (str, 1),
    (bytes, "a"),
    (bytes, bytearray(b"a")),
    (list, (1,)),
    (dict, [1]),
    (Plain, 1),
    (list[int], (1,)),
    (list[int], ["1"]),
    (dict[str, int], {1: 1}),
    (FileType, 1),
]


@pytest.mark.parametrize("declared, value, expected", ACCEPTED)
def test_a_declared_type_converts_and_the_function_gets_it(declared, value, expected):
    made, plain = keyer(sub, types={"x": declared}), keyer(sub)
    got, (x, _), *_ = made.bind((value, 0), {}, None)
    assert (type(x), x) == (type(expected), expected)
    assert got == key(plain, expected, 0)
    assert made.bind((), {"x": value, "y": 0}, None)[2]["x"] == expected


@pytest.mark.parametrize("declared, value", REFUSED)
def test_what_does_not_fit_a_declared_type(declared, value):
    with pytest.raises(TypeError, match=r"test_call\.sub: argument 'x' is declared"):
        key(keyer(sub, types={"x": declared}), value, 0)


@pytest.mark.parametrize(
    "declared", [int, float, bool, str, bytes, list, Plain, FileType, ValueType, list[FileType], Digested]
)
def test_none_passes(declared):
    made = keyer(sub, types={"x": declared})
    assert made.bind((None, 0), {}, None)[1][0] is None
    assert key(made, None, 0) == key(keyer(sub), None, 0)


def test_undeclared_numbers_of_numpy_have_keys_of_their_own():
    """Arithmetic with them differs: they overflow, and divide by zero."""
    values = (
        1,
        1.0,
        True,
        "a",
        b"a",
        np.int64(1),
        np.int32(1),
        np.float64(1),
        np.bool_(1),
        np.str_("a"),
        np.bytes_("a"),
    )
    assert len({key(keyer(sub), value, 0) for value in values}) == len(values)


def test_a_list_that_needs_no_conversion_is_passed_on_itself():
    value = [1, 2]
    assert keyer(sub, types={"x": list[int]}).bind((value, 0), {}, None)[1][0] is value


def test_a_declared_class_keeps_the_value_and_its_own_type():
    made = keyer(sub, types={"x": dict})
    table = {"a": 1}
    assert made.bind((table, 0), {}, None)[1][0] is table
    assert key(made, table, 0) == key(keyer(sub), table, 0)


def test_declared_beyond_the_parameters():
    made = keyer(everything, types={"rest": int, "zz": float})
    got = made.bind((1, 2, 3, np.int64(4), True), {"d": 1, "zz": 2}, None)
    assert got[1] == (1, 2, 3, 4, 1)
    assert type(got[1][3]) is int
    assert type(got[2]["zz"]) is float
    every = keyer(everything, types={"more": int})
    assert type(every.bind((1,), {"d": 1, "q": np.int64(5)}, None)[2]["q"]) is int


def test_a_default_is_converted_as_an_argument_is():
    def function(x, n=True, *, rate=1, rates=(1,)):
        return n, rate, rates

    made = keyer(function, types={"n": int, "rate": float, "rates": tuple[float, ...]})
    assert key(made, 1) == key(made, 1, 1) == key(made, 1, 1, rate=1.0, rates=(1.0,))
    args, kwargs = made.bind((1,), {}, None)[1:3]
    assert repr((args, kwargs)) == "((1,), {'n': 1, 'rate': 1.0, 'rates': (1.0,)})"
    assert made.account(args, kwargs) == made.account((1,), {})


def test_a_default_that_is_converted_is_given_by_position_where_it_has_no_name():
    def function(a, b=0, c=1, d=2, /, **more):
        return a, b, c, d

    made = keyer(function, types={"c": float, "d": float})
    assert repr(made.bind((5,), {"c": 9}, None)[1:3]) == "((5, 0, 1.0, 2.0), {'c': 9.0})"
    assert key(made, 5) == key(made, 5, 0, 1) == key(made, 5, 0, 1.0, 2.0)


def test_a_default_that_cannot_be_given_is_not_converted_behind_the_functions_back():
    """Another decorator may tell whether it was given."""
    made = keyer(decorated, types={"y": float})
    assert made.bind((1,), {}, None)[1:3] == ((1,), {})
    assert key(made, 1) != key(made, 1, 2)


def test_wrappers_as_declared_types():
    assert key(keyer(sub, types={"x": Lengthy}), "ab", 0) == key(keyer(sub, types={"x": Lengthy}), "cd", 0)
    assert key(keyer(sub, types={"x": Digested}), "ab", 0) != key(keyer(sub, types={"x": Digested}), "cd", 0)
    assert keyer(sub, types={"x": Digested}).bind(("ab", 0), {}, None)[1] == ("ab", 0)
    assert key(keyer(sub, types={"x": Digested}), Digested("ab"), 0) == key(
        keyer(sub, types={"x": Digested}), "ab", 0
    )
    for declared in (ValueType, UtilityType, ObjectType):
        assert key(keyer(sub, types={"x": declared}), [1], 0) == key(keyer(sub), [1], 0)
        with pytest.raises(UnhashableArgument):
            key(keyer(sub, types={"x": declared}), threading.Lock(), 0)


class Reducible:
    def __init__(self, state):
        self.state = state

    def __reduce_ex__(self, protocol):
        return Reducible, (), {"state": self.state}


def test_object_type_takes_apart_what_is_refused():
    made = keyer(sub, types={"x": ObjectType})
    assert key(made, Reducible(1), 0) == key(made, Reducible(1), 0) != key(made, Reducible(2), 0)
    assert key(made, [ValueError("a")], 0) != key(made, [ValueError("b")], 0)
    with pytest.raises(UnhashableArgument) as refused:
        key(keyer(sub), [Reducible(1)], 0)
    assert refused.value.path == "x[0]"
    with pytest.raises(UnhashableArgument) as refused:
        key(made, {"k": Reducible(threading.Lock())}, 0)
    assert refused.value.path.startswith('x["k"]')


@pytest.mark.parametrize("wrong", ["int", 3, None, int | str, list[int, str], set[int], GenericType])
def test_what_cannot_be_declared(wrong):
    with pytest.raises(TypeError):
        keyer(sub, types={"x": wrong})


# --- errors ------------------------------------------------------------------------------------------------


def test_the_error_names_function_argument_path_and_remedies():
    with pytest.raises(UnhashableArgument) as refused:
        key(keyer(sub), 1, {"model": Plain(threading.Lock())})
    error = refused.value
    assert (error.function, error.argument, error.path) == ("tests.keys.test_call.sub", "y", 'y["model"].x')
    assert isinstance(error, TypeError)
    for word in ("_ignore", "register_key", "__scalable_key__", "ObjectType"):
        assert word in str(error)


def test_the_error_advises_no_declaration_that_would_not_help():
    lock, given = Plain(threading.Lock()), {"x": ObjectType}
    for made, value in (
        (keyer(sub, types=given), lock),
        (keyer(sub, types=given), UtilityType(lock)),
        (keyer(sub), [ObjectType(lock)]),
        (keyer(sub), UtilityType(ObjectType(lock))),
        (keyer(sub, types={"x": list[ObjectType]}), [lock]),
    ):
        with pytest.raises(UnhashableArgument, match=r"or call register_key\(Type, function\)$"):
            key(made, value, 0)

    def closure(x):
        return lock, x

    with pytest.raises(
        UnhashableArgument, match=r"captured lock\.x: .*or call register_key\(Type, function\)$"
    ):
        key(keyer(closure), 0)


def test_the_error_shows_no_values():
    class Secret:
        def __init__(self):
            self.lock = threading.Lock()

        def __repr__(self):
            return "hunter2"

    with pytest.raises(UnhashableArgument) as refused:
        key(keyer(sub), Secret(), 0)
    assert "hunter2" not in str(refused.value)


def test_where_an_extra_argument_is_named():
    with pytest.raises(UnhashableArgument) as refused:
        key(keyer(everything), 1, 2, 3, 4, object(), d=1)
    assert refused.value.path == "rest[1]"
    with pytest.raises(UnhashableArgument) as refused:
        key(keyer(everything), 1, d=1, zz=[object()])
    assert refused.value.path == "zz[0]"


def test_parts_are_what_differs():
    made = keyer(everything)
    one = {(s, n): d for s, n, d in made.account((1, 2, 3, 9), {"d": 4, "z": 1})[0]}
    two = {(s, n): d for s, n, d in made.account((1, 2, 3, 8), {"d": 5, "z": 1})[0]}
    assert {name for name in one if one[name] != two[name]} == {("v", "rest"), ("a", "d")}
    assert set(one) == {("a", n) for n in "abcde"} | {("v", "rest"), ("k", "z")}
    assert all(len(digest) == 32 for digest in one.values())


@pytest.mark.parametrize(
    "value", [1, "a", None, {"k": [1, 2]}, [{"a": 1}], Plain(1), add, np.zeros(3), "x" * 100]
)
def test_the_quick_account_of_a_call_is_the_careful_one(value):
    made = keyer(sub)
    parts, outlines = made.account((value, 2), {})
    assert made._quick.account((value, 2), {}) == (parts, outlines)
    made._quick = None
    assert made.account((value, 2), {}) == (parts, outlines)
    assert [name for _, name, _ in parts] == ["x", "y"]
    assert outlines[1] == [0, 2]
