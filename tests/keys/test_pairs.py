"""Pairs of values that are two keys, and pairs that are one. Each row is a way in which some cache went
wrong.
"""

from __future__ import annotations

import array
import collections
import copy
import dataclasses
import datetime as dt
import decimal
import fractions
import functools
import ipaddress
import math
import operator
import pathlib
import pickle
import re
import struct
import types
import uuid
import zoneinfo

import pytest

from scalable_cas.keys.encode import encode
from scalable_cas.keys.nodes import Refused

from .pair_tables import pair_tests
from .samples import (
    Bag,
    Bits,
    Color,
    Data,
    Days,
    Digested,
    Frozen,
    Keyed,
    Lengthy,
    Level,
    Named,
    Number,
    Pair,
    Plain,
    Point,
    Row,
    SlotAbove,
    Slotted,
    SlottedMore,
    Table,
    Text,
    Word,
    add,
    counting,
    scaled,
)

UTC = dt.UTC
PARIS = zoneinfo.ZoneInfo("Europe/Paris")
OTHER_NAN = struct.unpack("<d", bytes.fromhex("010000000000f8ff"))[0]


def cyclic(kind):
    """A list in itself, or a dict in itself."""
    if kind == "list":
        value = [1]
        value.append(value)
    else:
        value = {"a": 1}
        value["self"] = value
    return value


def chained(n):
    first = Plain()
    node = first
    for _ in range(n - 1):
        node.y = Plain()
        node = node.y
    node.y = first
    return first


shared = [1, 2]

DIFFERENT = {
    # scalars keep their type
    "1 / True": (1, True),
    "1 / 1.0": (1, 1.0),
    "1 / '1'": (1, "1"),
    "1 / b'1'": (1, b"1"),
    "0 / False": (0, False),
    "0 / None": (0, None),
    "None / 'None'": (None, "None"),
    "'' / None": ("", None),
    "'a' / b'a'": ("a", b"a"),
    "True / 'True'": (True, "True"),
    "nan / 'nan'": (math.nan, "nan"),
    "b'a' / its repr": (b"a", "b'a'"),
    "1 / 1+0j": (1, 1 + 0j),
    "1.0 / 1+0j": (1.0, 1 + 0j),
    "int sign": (5, -5),
    "int64 edge": (2**63 - 1, 2**63),
    "int64 low edge": (-(2**63), -(2**63) - 1),
    "big ints": (2**64, 2**64 + 1),
    "big int sign": (2**64, -(2**64)),
    "huge ints": (10**5000, 10**5000 + 1),
    "-0.0": (0.0, -0.0),
    "complex -0": (complex(0.0, 0.0), complex(0.0, -0.0)),
    "complex swapped": (1 + 2j, 2 + 1j),
    "inf / nan": (math.inf, math.nan),
    "str NFC / NFD": ("\u00e9", "e\u0301"),
    "surrogates / what they spell": ("\ud83d\ude00", "\U0001f600"),
    "str with NUL": ("a", "a\0"),
    "long str": ("x" * 2000, "x" * 1999 + "y"),
    "long str / its bytes": ("x" * 2000, b"x" * 2000),
    "bytes / bytearray": (b"a", bytearray(b"a")),
    "bytes / memoryview": (b"a", memoryview(b"a")),
    "memoryview format": (memoryview(b"abcd"), memoryview(b"abcd").cast("I")),
    "memoryview shape": (memoryview(b"abcd"), memoryview(b"abcd").cast("B", (2, 2))),
    "Ellipsis / NotImplemented": (..., NotImplemented),
    "Ellipsis / its name": (..., "Ellipsis"),
    # subclasses
    "int subclass": (Number(1), 1),
    "str subclass": (Text("a"), "a"),
    "IntEnum": (Level.LOW, 1),
    "StrEnum": (Word.A, "a"),
    "dict subclass": (Table(a=1), {"a": 1}),
    "list subclass": (Row([1]), [1]),
    "tuple subclass": (Pair((1,)), (1,)),
    "set subclass": (Bag({1}), {1}),
    "OrderedDict subclass": (Days(a=1), collections.OrderedDict(a=1)),
    "subclass content": (Table(a=1), Table(a=2)),
    "subclass attribute": (Number(1), next(_ for _ in [Number(1)] if not setattr(_, "unit", "m"))),
    # enums
    "enum members": (Color.RED, Color.GREEN),
    "enum / value": (Color.RED, 1),
    "enum / name": (Color.RED, "RED"),
    "flags": (Bits.A, Bits.A | Bits.B),
    "flag / int": (Bits.A, 1),
    # library types
    "Path / str": (pathlib.Path("/a"), "/a"),
    "Path / PurePath": (pathlib.Path("/a"), pathlib.PurePosixPath("/a")),
    "Path case": (pathlib.Path("a"), pathlib.Path("A")),
    "pure paths": (pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("a")),
    "date / datetime": (dt.date(2024, 1, 1), dt.datetime(2024, 1, 1)),
    "naive / aware": (dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, tzinfo=UTC)),
    "same instant, two zones": (
        dt.datetime(2024, 1, 1, 12, tzinfo=UTC),
        dt.datetime(2024, 1, 1, 13, tzinfo=PARIS),
    ),
    "same offset, two names": (dt.timezone(dt.timedelta(hours=1)), dt.timezone(dt.timedelta(hours=1), "CET")),
    "zone / fixed offset": (
        dt.datetime(2024, 1, 1, tzinfo=PARIS),
        dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))),
    ),
    "fold of datetime": (dt.datetime(2024, 10, 27, 2, 30), dt.datetime(2024, 10, 27, 2, 30, fold=1)),
    "fold of time": (dt.time(2), dt.time(2, fold=1)),
    "time / timedelta": (dt.time(1), dt.timedelta(hours=1)),
    "timedelta sign": (dt.timedelta(1), dt.timedelta(-1)),
    "Decimal 1.0 / 1.00": (decimal.Decimal("1.0"), decimal.Decimal("1.00")),
    "Decimal / float": (decimal.Decimal(1), 1.0),
    "Decimal 0 / -0": (decimal.Decimal("0"), decimal.Decimal("-0")),
    "Decimal nan / snan": (decimal.Decimal("nan"), decimal.Decimal("snan")),
    "Decimal inf / nan": (decimal.Decimal("inf"), decimal.Decimal("nan")),
    "Fraction / int": (fractions.Fraction(2), 2),
    "Fraction": (fractions.Fraction(1, 2), fractions.Fraction(2, 1)),
    "UUID / str": (uuid.UUID(int=1), str(uuid.UUID(int=1))),
    "UUID": (uuid.UUID(int=1), uuid.UUID(int=2)),
    "IPv4 / IPv6": (ipaddress.ip_address("0.0.0.1"), ipaddress.ip_address("::1")),
    "IPv6 scope": (ipaddress.ip_address("fe80::1"), ipaddress.ip_address("fe80::1%eth0")),
    "network / interface": (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_interface("10.0.0.0/8")),
    "network size": (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("10.0.0.0/9")),
    "pattern flags": (re.compile("a"), re.compile("a", re.IGNORECASE)),
    "pattern str / bytes": (re.compile("a"), re.compile(b"a")),
    "pattern / str": (re.compile("a"), "a"),
    "slice": (slice(1, 2), slice(1, 2, 1)),
    "slice / range": (slice(1, 2, 1), range(1, 2, 1)),
    "range / list": (range(3), [0, 1, 2]),
    "range by its numbers": (range(0, 3, 2), range(0, 4, 2)),
    "array type code": (array.array("i", [1]), array.array("f", [1])),
    "array / list": (array.array("i", [1]), [1]),
    # containers
    "[] / ()": ([], ()),
    "[] / {}": ([], {}),
    "{} / set()": ({}, set()),
    "set / frozenset": ({1}, frozenset({1})),
    "[] / ''": ([], ""),
    "[1] / (1,)": ([1], (1,)),
    "[1, 2] / {1: 2}": ([1, 2], {1: 2}),
    "{'a': 1, 'b': 2} / ['a', 1, 'b', 2]": ({"a": 1, "b": 2}, ["a", 1, "b", 2]),
    "list order": ([1, 2], [2, 1]),
    "[[]] / ['']": ([[]], [""]),
    "[[1], 2] / [1, [2]]": ([[1], 2], [1, [2]]),
    "[[1, 2]] / [[1], [2]]": ([[1, 2]], [[1], [2]]),
    "['ab', 'c'] / ['a', 'bc']": (["ab", "c"], ["a", "bc"]),
    "a str that looks like an encoding": (["a", "b"], ["a]builtins.str[b"]),
    "nesting depth": ([[[]]], [[]]),
    "repeated items": ([1], [1, 1]),
    "dict value": ({"a": 1}, {"a": 2}),
    "dict key": ({"a": 1}, {"b": 1}),
    "dict key / value swapped": ({"a": "b"}, {"b": "a"}),
    "dict key type": ({1: "x"}, {"1": "x"}),
    "dict key True / 1": ({True: "x"}, {1: "x"}),
    "dict pairs crossed": ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
    "dict of dicts": ({"a": {"b": 1}}, {"a": {"c": 1}}),
    "set content": ({1, 2}, {1, 3}),
    "set of frozensets": ({frozenset("ab")}, {frozenset("a"), frozenset("b")}),
    "long lists": ([*range(3000)], [*range(2999), -1]),
    "very long lists": ([0] * 20_000, [0] * 20_001),
    "very long list / tuple": ([0] * 20_000, (0,) * 20_000),
    "OrderedDict order": (
        collections.OrderedDict([("a", 1), ("b", 2)]),
        collections.OrderedDict([("b", 2), ("a", 1)]),
    ),
    "OrderedDict / dict": (collections.OrderedDict(a=1), {"a": 1}),
    "defaultdict factory": (collections.defaultdict(list), collections.defaultdict(set)),
    "defaultdict / dict": (collections.defaultdict(None, a=1), {"a": 1}),
    "Counter / dict": (collections.Counter(a=1), {"a": 1}),
    "deque / list": (collections.deque([1]), [1]),
    "deque maxlen": (collections.deque([1], 2), collections.deque([1], 3)),
    "MappingProxyType / dict": (types.MappingProxyType({"a": 1}), {"a": 1}),
    "MappingProxyType of OrderedDict": (
        types.MappingProxyType({"a": 1}),
        types.MappingProxyType(collections.OrderedDict(a=1)),
    ),
    "SimpleNamespace / dict": (types.SimpleNamespace(a=1), {"a": 1}),
    # objects
    "namedtuple / tuple": (Point(1, 2), (1, 2)),
    "namedtuple class": (Point(1, 2), Named(1, 2)),
    "dataclass value": (Data(1), Data(2)),
    "dataclass compare=False counts": (Data(hidden=1), Data(hidden=2)),
    "dataclass / its dict": (Frozen(1), {"a": 1}),
    "dataclass class": (Frozen(1), Slotted(1)),
    "object attribute": (Plain(1), Plain(2)),
    "object attribute swapped": (Plain(1, 2), Plain(2, 1)),
    "slot": (Slotted(1), Slotted(2)),
    "slots of bases": (SlottedMore(1, 2), SlottedMore(2, 1)),
    "__scalable_key__": (Keyed(1), Keyed(2)),
    "__scalable_key__ / what it returns": (Keyed(1), (1,)),
    "digest()": (Digested(1), Digested(2)),
    "__hash__ only": (Lengthy("a"), Lengthy("ab")),
    "class / its name": (Plain, "tests.keys.samples:Plain"),
    "class / instance": (Plain, Plain()),
    "classes": (Plain, Data),
    "builtin classes": (int, float),
    "alias arguments": (list[int], list[str]),
    "alias / class": (list[int], list),
    # functions
    "lambdas on a line": ((lambda x: x + 1), (lambda x: x + 2)),
    "closures": (scaled(1), scaled(2)),
    "defaults": (lambda x, k=1: x + k, lambda x, k=2: x + k),
    "functions": (add, scaled),
    "function / its name": (add, "tests.keys.samples:add"),
    "partial": (functools.partial(add, 1), functools.partial(add, 2)),
    "partial keyword / argument": (functools.partial(add, 1), functools.partial(add, b=1)),
    "bound methods": (Plain(1).method, Plain(2).method),
    "method / function": (Plain(1).method, Plain.method),
    "builtins": (len, sum),
    "bound builtins": ("a".join, "b".join),
    "methods of builtin types": (str.upper, str.lower),
    "same method name, two types": (list.__len__, tuple.__len__),
    "itemgetter": (operator.itemgetter(1), operator.itemgetter(2)),
    "itemgetter / attrgetter": (operator.itemgetter("a"), operator.attrgetter("a")),
    "methodcaller": (operator.methodcaller("f", 1), operator.methodcaller("f", x=1)),
    # cycles
    "cycle / copy of one turn": (cyclic("list"), [1, cyclic("list")]),
    "cycle of another length": (chained(2), chained(3)),
}

EQUAL = {
    "int from another way": (1000, int("1000")),
    "str from another way": ("ab" * 600, "".join(["ab"] * 600)),
    "NaN sign and payload": (math.nan, OTHER_NAN),
    "inf - inf": (math.nan, math.inf - math.inf),
    "NaN inside complex": (complex(math.nan, 1), complex(OTHER_NAN, 1)),
    "memoryview strides": (memoryview(b"abcd")[::2], memoryview(b"ac")),
    "memoryview of bytes / bytearray": (memoryview(b"a"), memoryview(bytearray(b"a"))),
    "dict order": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "dict order, mixed keys": ({1: 1, "b": 2, None: 3}, {None: 3, "b": 2, 1: 1}),
    "dict order, nested": ({"x": {"a": 1, "b": 2}}, {"x": {"b": 2, "a": 1}}),
    "dict order, large": (dict.fromkeys(range(500)), dict.fromkeys(range(499, -1, -1))),
    "set order": (set(range(100)), set(range(99, -1, -1))),
    "set of mixed types": ({1, "a", None, (1,)}, {(1,), None, "a", 1}),
    "Counter order": (collections.Counter("ab"), collections.Counter("ba")),
    "SimpleNamespace order": (types.SimpleNamespace(a=1, b=2), types.SimpleNamespace(b=2, a=1)),
    "shared / copied": ([shared, shared], [[1, 2], [1, 2]]),
    "shared / copied, large": ([[*range(500)]] * 2, [[*range(500)], [*range(500)]]),
    "shared str": (["ab", "ab"], ["ab", "".join("ab")]),
    "attribute order": (
        Plain(1, 2),
        next(_ for _ in [Plain()] if not _.__dict__.clear() and not _.__dict__.update(y=2, x=1)),
    ),
    "cached_property": (Plain(1), next(_ for _ in [Plain(1)] if _.derived)),
    "field left out of the key": (Data(note="a"), Data(note="b")),
    "range": (range(3), range(3)),
    "Decimal of int": (decimal.Decimal(3), decimal.Decimal("3")),
    "cycles": (cyclic("list"), cyclic("list")),
    "cycles of dicts": (cyclic("dict"), cyclic("dict")),
    "cycles of objects": (chained(3), chained(3)),
    "closures of equal values": (scaled([1]), scaled([1])),
    "captured for effect": (counting([]), counting([1, 2, 3])),
    "zones": (PARIS, zoneinfo.ZoneInfo.no_cache("Europe/Paris")),
    "union order": (int | str, str | int),
    "lru_cache": (functools.lru_cache(add), functools.lru_cache(maxsize=3)(add)),
}


@dataclasses.dataclass
class Price(decimal.Decimal):
    """A dataclass that is a value of the standard library besides: found to lose that value."""

    currency: str = "EUR"

    def __new__(cls, amount, currency="EUR"):
        return decimal.Decimal.__new__(cls, amount)

    def __init__(self, amount, currency="EUR"):
        self.currency = currency


@dataclasses.dataclass
class Span(dt.timedelta):
    label: str = ""

    def __new__(cls, days, label=""):
        return dt.timedelta.__new__(cls, days=days)

    def __init__(self, days, label=""):
        self.label = label


@dataclasses.dataclass
class Recent(collections.deque):
    label: str = ""

    def __init__(self, items=(), label=""):
        collections.deque.__init__(self, items)
        self.label = label


DIFFERENT |= {
    "a dataclass of a Decimal: its value": (Price("1"), Price("2")),
    "a dataclass of a Decimal: its field": (Price("1"), Price("1", "USD")),
    "a dataclass of a timedelta": (Span(1), Span(2)),
    "a dataclass of a deque": (Recent([1]), Recent([2])),
    "a dataclass of a deque: its field": (Recent([1]), Recent([1], "a")),
}


test_two_keys, test_one_key = pair_tests(DIFFERENT, EQUAL)


def test_no_two_values_of_the_table_share_a_key_by_accident():
    """All left sides, from all rows: equal encodings only where the values are one."""
    seen = {}
    for name, pair in DIFFERENT.items():
        for value in pair:
            key = encode(value)
            other = seen.setdefault(key, (name, value))
            assert type(other[1]) is type(value), (name, other[0])


COPIED = [
    pair[0]
    for name, pair in {**DIFFERENT, **EQUAL}.items()
    if not isinstance(pair[0], memoryview)
    and "lambda" not in name
    and "closure" not in name
    and name != "defaults"
    and "captured" not in name
    and "MappingProxy" not in name
    and name != "lru_cache"
    and "timedelta" not in name  # pickle gives the class three numbers
    and "__scalable" not in name
]


@pytest.mark.parametrize("value", COPIED, ids=lambda value: type(value).__name__)
def test_a_copy_has_the_same_key(value):
    assert encode(copy.deepcopy(value)) == encode(value)
    assert encode(pickle.loads(pickle.dumps(value))) == encode(value)


def test_a_slot_that_a_class_below_hides_counts():
    """Not in the table: Python's own copies and pickles leave it out, so a copy is another value."""
    assert encode(SlotAbove(1, 5)) == encode(SlotAbove(1, 5))
    assert encode(SlotAbove(1, 5)) != encode(SlotAbove(2, 5))
    assert encode(SlotAbove(1, 5)) != encode(SlotAbove(5, 1))


def test_no_method_of_a_users_class_runs():
    def fails(self, *args):
        raise AssertionError

    names = "__eq__ __len__ __iter__ __bool__ __repr__ __str__ __getitem__ __contains__ __int__ __index__"
    methods = {
        **dict.fromkeys([*names.split(), "__float__", "items", "keys", "values", "copy", "encode"], fails),
        "__hash__": lambda self: 1,
    }
    for base, content in (
        (object, ()),
        (dict, ({"a": 1},)),
        (list, ([1],)),
        (set, ({1},)),
        (int, (1,)),
        (str, ("a",)),
    ):
        wild = type("Wild", (base,), {**methods, "__module__": __name__})
        assert encode([wild(*content)]) == encode([wild(*content)])
    wild = type("Wild", (), {**methods, "__module__": __name__})
    first, second = wild(), wild()
    assert encode({first: 1}) == encode({second: 1})
    bag = Bag()
    bag.add(first)
    wild.__hash__ = fails
    assert encode(bag)
    with pytest.raises(Refused):
        encode(super(Data, Data()))
