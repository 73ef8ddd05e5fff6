"""Any plain value: the key tells values apart exactly as an independent description of them does."""

from __future__ import annotations

import copy
import pickle
import random
import struct

from hypothesis import given
from hypothesis import strategies as st

from scalable_cas.keys.call import CallKeyer
from scalable_cas.keys.encode import _Deep, encode
from scalable_cas.keys.nodes import Walk

from .samples import Frozen, Number, Plain, Point, Text

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**70), max_value=2**70)
    | st.sampled_from([0, 1, 2**63, -(2**63), -(2**63) - 1])
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=5)
    | st.sampled_from(["", "0", "1", "None", "True", "\ud800", "x" * 1023, "x" * 1024, "x" * 1025])
    | st.binary(max_size=5)
    | st.sampled_from([b"x" * 1024, b"x" * 1025])
    | st.binary(max_size=4).map(bytearray)
    | st.integers(0, 3).map(Number)
    | st.text(max_size=2).map(Text)
    | st.dates()
    | st.timedeltas()
    | st.uuids()
)
HASHABLE = st.recursive(
    SCALARS.filter(lambda v: not isinstance(v, bytearray)),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)


def containers(inner):
    return (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.sets(HASHABLE, max_size=4)
        | st.builds(Point, inner, inner)
        | st.builds(Plain, inner, inner)
        | st.builds(Frozen, inner)
    )


VALUES = st.recursive(SCALARS | HASHABLE, containers, max_leaves=12)


def described(value):
    """A value as nested tuples of text: types by name, order gone where it does not count. The oracle."""
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind is float:
        return (name, "nan" if value != value else struct.pack("<d", value).hex())
    if kind is complex:
        return (name, described(value.real), described(value.imag))
    if kind in (list, tuple):
        return (name, *map(described, value))
    if kind in (set, frozenset):
        return (name, *sorted((described(item) for item in value), key=repr))
    if kind is dict:
        return (name, *sorted(((described(k), described(v)) for k, v in value.items()), key=repr))
    if kind is Point:
        return (name, *map(described, tuple(value)))
    if kind is Plain:
        return (name, described(value.x), described(value.y))
    if kind is Frozen:
        return (name, described(value.a))
    if kind in (bytes, bytearray):
        return (name, bytes(value).hex())
    if kind in (int, Number):
        return (name, hex(value))
    return (name, ascii(str(value)), ascii(value))


def shuffled(value, seed):
    """The same value with every dict and set filled in another order."""
    rng = random.Random(seed)
    kind = type(value)
    if kind in (list, tuple):
        return kind(shuffled(item, seed) for item in value)
    if kind is dict:
        items = [*value.items()]
        rng.shuffle(items)
        return {k: shuffled(v, seed) for k, v in items}
    if kind in (set, frozenset):
        items = [*value]
        rng.shuffle(items)
        return kind(items)
    return value


@given(VALUES, VALUES)
def test_injective(a, b):
    assert (encode(a) == encode(b)) == (described(a) == described(b))


@given(VALUES)
def test_near_misses_differ(value):
    """Wrapping, repeating and renaming change the key."""
    near = [
        value,
        [value],
        (value,),
        [[value]],
        [value, value],
        {"k": value},
        {"l": value},
        {0: value},
        Plain(value),
    ]
    assert len({encode(v) for v in near}) == len({repr(described(v)) for v in near})


@given(VALUES)
def test_a_copy_and_a_pickle_have_the_same_key(value):
    assert encode(copy.deepcopy(value)) == encode(value) == encode(pickle.loads(pickle.dumps(value)))


@given(VALUES, st.integers())
def test_the_order_of_dicts_and_sets_does_not_count(value, seed):
    assert encode(shuffled(value, seed)) == encode(value)


@given(VALUES)
def test_sharing_does_not_show(value):
    assert encode([value, value, {"k": value}]) == encode(
        [value, copy.deepcopy(value), {"k": copy.deepcopy(value)}]
    )


@given(VALUES)
def test_the_engines_agree(value):
    assert encode(value) == _Deep(Walk([])).run(value)


def function(a, b=1, *rest, c, d=None, **more):
    return a, b, rest, c, d, more


def simple(a, b=1, *, c, d=None):
    return a, b, c, d


NAMES = st.sampled_from(["a2", "z", "rest", "more", "é"])


@given(
    st.lists(SCALARS, min_size=1, max_size=4),
    SCALARS,
    st.dictionaries(NAMES, SCALARS),
    st.randoms(use_true_random=False),
)
def test_keyword_order_does_not_count(args, c, more, rng):
    keyer = CallKeyer(function, arg_types={})
    items = [("c", c), *more.items()]
    key = keyer.bind(tuple(args), dict(items), None)[0]
    rng.shuffle(items)
    assert keyer.bind(tuple(args), dict(items), None)[0] == key


@given(VALUES, VALUES, VALUES, VALUES)
def test_the_quick_way_and_the_careful_way_agree(a, b, c, d):
    for keyer in (CallKeyer(simple, arg_types={}), CallKeyer(simple, arg_types={}, ignore=("b",))):
        for args, kwargs in [
            ((a, b), {"c": c, "d": d}),
            ((a,), {"c": c}),
            ((), {"a": a, "b": b, "c": c, "d": d}),
        ]:
            for seed in (None, "", "salt"):
                *got, quick = keyer.bind(args, kwargs, seed)
                *wanted, careful = keyer._careful(args, kwargs, seed)
                assert got == wanted
                account = named(keyer.account(args, kwargs))
                assert named(keyer.account(args, kwargs, quick)) == account
                assert named(keyer.account(args, kwargs, careful)) == account


def named(account):
    """(section, name) -> (digest, outline)."""
    return {part[:2]: (part[2], repr(outline)) for part, outline in zip(*account, strict=True)}


@given(st.lists(VALUES, max_size=4), st.dictionaries(NAMES, VALUES, max_size=2), st.lists(VALUES, max_size=4))
def test_calls_are_told_apart(args, kwargs, others):
    keyer = CallKeyer(lambda *args, **kwargs: None, arg_types={})
    one, two = keyer.bind(tuple(args), kwargs, None)[0], keyer.bind(tuple(others), kwargs, None)[0]
    assert (one == two) == (described(args) == described(others))
