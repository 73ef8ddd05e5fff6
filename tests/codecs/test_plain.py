from __future__ import annotations

import array
import copyreg
import inspect
import pickle
import struct
import sys
import threading
from collections import Counter, OrderedDict, UserDict, defaultdict, deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import partial
from types import MappingProxyType, SimpleNamespace
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given

from scalable_cas.codecs import decode, encode, plain
from scalable_cas.codecs.encoded import OUT_OF_BAND
from scalable_cas.codecs.lowering import MAX_DEPTH
from scalable_cas.errors import MalformedObject, NotStorable
from tests.codecs import samples
from tests.codecs.samples import (
    Access,
    Bits,
    Child,
    Colour,
    Frozen,
    Level,
    MyDict,
    MyList,
    NamedPoint,
    OwnState,
    Pair,
    Plain,
    Point,
    Run,
    Shape,
    Slotted,
    Thing,
    same,
)
from tests.codecs.strategies import values

NAN_WITH_BITS = struct.unpack(">d", b"\xff\xf0\x00\x00\x00\x00\x12\x34")[0]


def there_and_back(value, *, codec="plain"):
    encoded = encode(value)
    assert encoded.codec == codec
    return decode(encoded.codec, encoded.head, encoded.buffers, trusted=True)


@given(values)
def test_every_plain_value_comes_back_as_it_was(value):
    encoded = plain.encode(value)
    assert encoded is not None
    assert same(plain.decode(encoded.head, encoded.buffers, trusted=True), value)


@given(values)
def test_equal_values_have_equal_bytes(value):
    encoded = plain.encode(value)
    again = plain.encode(plain.decode(encoded.head, encoded.buffers, trusted=True))
    assert again.head == encoded.head
    assert again.buffers == encoded.buffers


@pytest.mark.parametrize("seed", ["0", "1", "12345"])
def test_bytes_do_not_depend_on_the_process(run, seed):
    program = """
from scalable_cas.codecs import encode
from tests.codecs.samples import Colour, Frozen
words = {"alpha", "beta", "gamma", ("delta", 1), Colour.RED, Frozen("x"), frozenset({"a", "b", Colour.GREEN})}
print(encode({"words": words, "deep": frozenset({frozenset({word}) for word in words})}).head.hex())
"""
    words = {
        frozenset({Colour.GREEN, "b", "a"}),
        Frozen("x"),
        Colour.RED,
        ("delta", 1),
        "gamma",
        "beta",
        "alpha",
    }
    here = encode({"words": words, "deep": frozenset({frozenset({word}) for word in words})}).head.hex()
    assert run("-c", program, PYTHONHASHSEED=seed).stdout.strip() == here


def test_objects_that_break_when_looked_at_are_no_error():
    class Broken:
        __dataclass_fields__ = None

        def __getattribute__(self, name):
            raise ZeroDivisionError

    with pytest.raises(NotStorable):
        encode([Broken()])


@pytest.mark.parametrize(
    "value",
    [
        {1: "int", True + 1: "two", 0.5: "float", "1": "text", b"1": "bytes", None: 0, (1, True, 1.0): 1},
        {True: 1},
        {1.0: 1},
        [1, True, 1.0, "1", b"1", 0, False, -0.0, 0.0],
        [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**500, -(10**500)],
        {2**100: 1, 5: 2},
        {2**100, 3, -(2**100)},
        NAN_WITH_BITS,
        complex(-0.0, NAN_WITH_BITS),
        ["\ud800 and \U0001f600 and \udc00"],
        {"\ud800": ["\udfff"]},
        [(), [], {}, set(), frozenset(), b"", "", bytearray()],
        {(1, (2, "x")): [1, (2,)], frozenset({1}): 2},
        frozenset({frozenset({frozenset({1}), 2}), "x"}),
        [
            Colour.RED,
            Colour.ALSO_RED,
            Colour.GREEN,
            Level.HIGH,
            Shape.POINT,
            Shape.NOT_A_NUMBER,
            SafeUUID.unsafe,
        ],
        [Access.READ | Access.WRITE, Access(0), Bits.ONE | Bits.FOUR, Bits(64)],
        [Point(1), Point(2, [3]), Pair(1, (2,))],
        [Run("a", [1]), Child("b", [2], (3,)), Slotted(1), Frozen((1, 2))],
        [datetime(2024, 10, 27, 2, 30, fold=fold, tzinfo=ZoneInfo("Europe/Paris")) for fold in (0, 1)],
        [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)],
        [timezone(timedelta(0), "UTC"), timezone(timedelta(hours=1), "x"), timezone(-timedelta(seconds=1))],
        [timedelta.min, timedelta.max, timedelta(microseconds=-1)],
        [Decimal(text) for text in ("-0", "1E+5", "0.00", "NaN123", "-sNaN7", "Infinity", "1e-999999")],
        [Fraction(-1, 3), Fraction(0), Fraction(2**200, 3)],
        [UUID(int=5), UUID(int=5, is_safe=SafeUUID.safe), UUID(int=5, is_safe=SafeUUID.unsafe)],
        OrderedDict([("b", 1), ("a", 2)]),
        defaultdict(list, a=[1]),
        Counter({"a": 2, "b": -1, "c": 0}),
        deque([1, (2,)], maxlen=2),
        deque([[]]),
        SimpleNamespace(a=1, b=[2]),
        MappingProxyType({"a": [1]}),
        [array.array(code, [1, 2]) for code in "bBhHiIlLqQfd"],
        slice(None, 2**70, (1,)),
        range(2**70, 0, -3),
        [NotImplemented, ...],
    ],
    ids=lambda value: str(value)[:40],
)
def test_types_and_corner_values(value):
    assert same(there_and_back(value), value)


def test_the_order_of_an_ordered_dict_is_its_own():
    value = OrderedDict.fromkeys("abc")
    value.move_to_end("a")
    assert list(there_and_back(value)) == ["b", "c", "a"]


def test_a_decimal_does_not_depend_on_the_context():
    heads = set()
    for capitals in (0, 1):
        with localcontext(capitals=capitals, prec=3):
            encoded = encode(Decimal("1.23456789E+50"))
            heads.add(encoded.head)
            assert str(there_and_back(Decimal("1.23456789E+50")).as_tuple()) == str(
                Decimal("1.23456789E+50").as_tuple()
            )
    assert len(heads) == 1


def test_singletons_are_themselves_again():
    for value in (..., NotImplemented, UTC, ZoneInfo("Europe/Paris"), Colour.RED, None, True):
        assert there_and_back([value])[0] is value


def test_a_small_dict_is_ordinary_msgpack():
    assert encode({"a": 1}).head == b"\x81\xa1a\x01"


def test_hits_get_values_of_their_own():
    head = encode([{"a": [1]}]).head
    first, second = plain.unpack(head), plain.unpack(head)
    first[0]["a"].append(2)
    assert second == [{"a": [1]}]


def test_no_code_of_a_dataclass_runs():
    head = encode(Run("a")).head
    samples.ran.clear()
    plain.unpack(head)
    assert samples.ran == []


def test_fields_that_are_not_set_stay_unset():
    value = Slotted(1, 2)
    object.__delattr__(value, "b")
    back = there_and_back(value)
    assert back.a == 1
    assert not hasattr(back, "b")
    run = Run("x")
    del run.values
    assert vars(there_and_back(run)) == {"name": "x"}


def test_the_order_in_which_fields_were_set_is_kept():
    value = Run("x", [1])
    name = vars(value).pop("name")
    value.name = name
    back = there_and_back([value, Run("y", [2])])
    assert [list(vars(item)) for item in back] == [["values", "name"], ["name", "values"]]


@pytest.mark.parametrize(
    "make",
    [
        list,
        dict,
        set,
        bytearray,
        deque,
        OrderedDict,
        Counter,
        lambda: defaultdict(int),
        lambda: SimpleNamespace(a=1),
        lambda: array.array("d", [1.0]),
        lambda: Run("x"),
        lambda: Thing(1),
        lambda: ([],),
        lambda: Frozen([]),
        lambda: Pair([], 1),
        lambda: MappingProxyType({}),
    ],
    ids=lambda make: type(make()).__name__,  # the same in every process
)
def test_what_is_shared_is_shared_again(make):
    item = make()
    first, second = there_and_back([item, item])
    if isinstance(item, tuple):
        assert first[0] is second[0]  # which of two equal tuples it is, nobody can tell from a change
    elif type(item) is Frozen:
        assert vars(first) == vars(second)
        assert all(vars(second)[name] is part for name, part in vars(first).items())
    elif type(item) is not MappingProxyType:
        assert first is second
    # Two that are merely equal are plain.
    assert there_and_back([make(), make()])[0] is not None


def test_sharing_is_seen_through_views_and_attributes():
    inner = {"a": 1}
    view, back = there_and_back([MappingProxyType(inner), inner])
    back["b"] = 2
    assert view["b"] == 2
    namespace = SimpleNamespace(a=1)
    assert plain.encode([namespace, vars(namespace)]) is None


def test_immutable_parts_may_occur_twice():
    for item in ((1, 2), Frozen(1), "x" * 100, b"y" * 100, Colour.RED, frozenset({1}), Slotted(1, 2)):
        assert same(there_and_back([item, item]), [item, item])


def test_cycles_come_back():
    value = [1]
    value.append({"again": value})
    back = there_and_back(value, codec="pickle")
    assert back[1]["again"] is back


def test_short_lived_copies_are_no_sharing():
    # Each OrderedDict is looked at through a copy, whose memory the next one may get.
    value = [OrderedDict(a=(index,)) for index in range(100)]
    assert same(there_and_back(value), value)


def nested(make, depth):
    value = make(0)
    for _ in range(depth):
        value = make(value)
    return value


CONTAINERS = {
    "list": lambda inner: [inner],
    "dict": lambda inner: {"a": inner},
    "tuple": lambda inner: (inner,),
    "frozenset": lambda inner: frozenset({inner}),
    "keys": lambda inner: (frozenset({inner}), 1),
    "ordered": lambda inner: OrderedDict(a=inner),
    "dataclass": Frozen,
    "namedtuple": lambda inner: Pair(inner, 1),
    "map": lambda inner: {(1,): inner},
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_deep_values(name):
    make = CONTAINERS[name]
    shallow = nested(make, MAX_DEPTH // 3)
    assert there_and_back(shallow) is not None
    for depth in (MAX_DEPTH + 1, 100_000):
        assert plain.encode(nested(make, depth) if name in {"list", "tuple"} else nested(make, 300)) is None


def test_little_stack_left_is_no_error():
    def down(levels):
        return encode(nested(CONTAINERS["list"], 60)).codec if levels == 0 else down(levels - 1)

    outcomes = set()
    for levels in range(0, sys.getrecursionlimit() - len(inspect.stack(0)) - 30, 20):
        try:
            outcomes.add(down(levels))
        except NotStorable:
            outcomes.add("not storable")
    assert "plain" in outcomes
    assert outcomes <= {"plain", "pickle", "not storable"}


@pytest.mark.parametrize(
    "value",
    [
        MyDict(a=1),
        MyList([1]),
        UserDict(a=1),
        Plain(1),
        OwnState(1),
        partial(int, "1"),
        int,
        len,
        defaultdict(Plain),
        defaultdict(lambda: 1),
        array.array("u", "x") if sys.version_info < (3, 13) else array.array("w", "x"),
        Fraction(1, 2**70_000),
        ZoneInfo.no_cache("Europe/Paris"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_plain_goes_to_pickle(value):
    back = there_and_back([value], codec="pickle")[0]
    assert type(back) is type(value)


def test_attributes_of_their_own_are_not_lost():
    for value in (Run("x"), OrderedDict(), NamedPoint(1)):
        value.extra = 1
        assert there_and_back(value, codec="pickle").extra == 1
    assert type(there_and_back(NamedPoint(1))) is NamedPoint


def test_registered_pickling_is_respected(monkeypatch):
    monkeypatch.setitem(
        copyreg.dispatch_table, Thing, lambda thing: (Thing, ((thing.value, "through copyreg"),))
    )
    assert there_and_back(Thing(1), codec="pickle").value == (1, "through copyreg")


def test_a_local_class_is_not_found_by_name():
    @dataclass
    class Local:
        value: int

    assert plain.encode(Local(1)) is None


def test_a_class_that_lost_its_name_is_not_plain(monkeypatch):
    value = Thing(1)
    monkeypatch.setattr(samples, "Thing", type("Thing", (), {}))
    assert plain.encode(value) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch.delattr(samples, "Frozen"),
        lambda patch: patch.setattr(samples, "Frozen", 3),
        lambda patch: patch.setattr(samples, "Frozen", Slotted),
        lambda patch: patch.setattr(samples, "Frozen", Colour),
        lambda patch: patch.delitem(sys.modules, "tests.codecs.samples"),
    ],
)
def test_a_class_that_is_gone_or_changed_is_a_miss(change, monkeypatch):
    head = encode(Frozen(1)).head
    change(monkeypatch)
    try:
        found = plain.unpack(head)
    except MalformedObject:
        return
    assert found.key == 1  # imported anew


def test_a_member_that_is_gone_or_changed_is_a_miss():
    gone = encode(Colour.RED).head.replace(b"RED", b"SAD")
    other_value = encode(Colour.GREEN).head.replace(b"green", b"GREEN")
    other_type = encode(Colour.RED).head[:-1] + b"\xc3"  # True where it was 1
    for head in (gone, other_value, other_type):
        with pytest.raises(MalformedObject):
            plain.unpack(head)


def test_large_bytes_are_buffers():
    large = bytes(range(256)) * (OUT_OF_BAND // 256)
    value = {
        "a": large,
        "b": [bytearray(large), array.array("d", bytes(OUT_OF_BAND)), b"small"],
        large: (large,),
    }
    encoded = encode(value)
    assert encoded.codec == "plain"
    assert len(encoded.head) < 1000
    assert [len(buffer) for buffer in encoded.buffers] == [OUT_OF_BAND] * 5
    assert same(plain.decode(encoded.head, encoded.buffers, trusted=False), value)
    views = [memoryview(bytearray(buffer)) for buffer in encoded.buffers]
    assert same(plain.decode(memoryview(encoded.head), views, trusted=True), value)
    with pytest.raises(MalformedObject):
        plain.decode(encoded.head, encoded.buffers[:2], trusted=True)


def test_sets_with_large_members_are_in_an_order_of_their_own():
    members = [bytes([index]) * OUT_OF_BAND for index in range(5)]
    assert encode({*members}).buffers == encode({*members[::-1]}).buffers


def test_bytes_and_text_are_stored_as_they_are():
    for value, codec, raw in ((b"\x00a", "bytes", b"\x00a"), ("ä\ud800", "str", b"\xc3\xa4\xed\xa0\x80")):
        encoded = encode(value)
        assert (encoded.codec, encoded.head, bytes(encoded.buffers[0])) == (codec, b"", raw)
        for buffer in (raw, bytearray(raw), memoryview(raw)):
            assert same(decode(codec, b"", [buffer], trusted=False), value)


@pytest.mark.parametrize(
    "codec, head, buffers",
    [("str", b"", [b"\xff"]), ("str", b"x", [b""]), ("bytes", b"", []), ("bytes", b"", [b""] * 2)],
)
def test_malformed_raw_values(codec, head, buffers):
    with pytest.raises(MalformedObject):
        decode(codec, head, buffers, trusted=True)


def test_encoding_does_not_change_the_value_or_keep_it_alive():
    value = {"a": [1, {"b": (2,)}]}
    before = pickle.dumps(value)
    encode(value)
    assert pickle.dumps(value) == before


def test_many_threads_at_once():
    failures = []

    def work(number):
        for index in range(300):
            value = {"n": number, "i": index, "t": (number, str(index)), "s": "x" * index, "big": 2**70}
            if plain.unpack(encode(value).head) != value:
                failures.append((number, index))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_tuples_that_share_tuples_are_not_written_out_as_a_tree():
    value = (1,)
    for _ in range(60):
        value = (value, value)
    encoded = encode(value)
    assert encoded.codec == "pickle"
    assert len(encoded.head) < 10_000
    records = [{"n": n, "box": ((0, 1), (2, 3))} for n in range(1000)]
    assert encode(records).codec == "plain"
