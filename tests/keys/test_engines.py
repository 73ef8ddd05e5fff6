"""The two engines give the same bytes, at any depth, with sharing and cycles, and refuse with the path."""

from __future__ import annotations

import gc
import sys
import threading
import types

import pytest
from blake3 import blake3

from scalable_cas.keys.encode import _Deep, encode, encode_quickly
from scalable_cas.keys.nodes import GiveUp, Refused, Walk

from .samples import Data, Keyed, Plain, Text
from .test_pairs import DIFFERENT, EQUAL

# every chain here is taken apart again from its outside, because freeing it in one go recurses in C


def nested(kind, depth):
    value = 0
    for _ in range(depth):
        value = {"list": lambda v: [v], "dict": lambda v: {"k": v}, "object": Plain}[kind](value)
    return value


def dismantle(value):
    while isinstance(value, list | dict | Plain):
        inner = value[0] if isinstance(value, list) else value["k"] if isinstance(value, dict) else value.x
        if isinstance(value, Plain):
            value.x = None
        else:
            value.clear()
        value = inner


@pytest.mark.parametrize(
    "value", [p[0] for p in {**DIFFERENT, **EQUAL}.values()], ids=lambda v: type(v).__name__
)
def test_both_engines_agree(value):
    assert encode(value) == _Deep(Walk([])).run(value)


@pytest.mark.parametrize("kind, depth", [("list", 100_000), ("dict", 100_000), ("object", 10_000)])
def test_a_hundred_thousand_levels(kind, depth):
    value, other = nested(kind, depth), nested(kind, depth + 1)
    assert encode(value) != encode(other)
    dismantle(value)
    dismantle(other)


@pytest.mark.parametrize("depth", [*range(36, 46), 200])
def test_no_seam_where_the_fast_engine_gives_up(depth):
    value = nested("list", depth)
    by_hand = b"i" + bytes(8)
    for _ in range(depth):
        by_hand = b"l" + (1).to_bytes(8, "little") + by_hand
        if len(by_hand) > 1024:
            by_hand = b"H" + blake3(by_hand).digest()
    assert encode(value) == by_hand
    if depth > 40:
        with pytest.raises(GiveUp):
            encode_quickly([value], Walk())


def test_a_dag_of_2_to_the_60_leaves():
    value, copied = 1, "1"
    for _ in range(60):
        value = [value, value]
        copied = {"k": copied, "l": copied}
    assert encode(value) == encode(value)
    assert encode(copied) == _Deep(Walk([])).run(copied)


def test_a_deep_dag():
    value = [*range(200)]
    for _ in range(3000):
        value = (value, value)
    assert encode(value) == encode(value)


def test_sharing_inside_a_cycle_does_not_show():
    def ring(share):
        root = {"items": []}
        leaf = {"up": root, "data": [*range(300)]}
        root["items"] = [leaf, leaf] if share else [leaf, {"up": root, "data": [*range(300)]}]
        return root

    assert encode(ring(share=True)) == encode(ring(share=False))


def test_two_parts_of_one_cycle_are_two_values():
    a = {"name": "a"}
    b = {"name": "b", "other": a}
    a["other"] = b
    assert encode(a) != encode(b)


def test_a_doubly_linked_list():
    def chain(n):
        first = node = Plain(0)
        for i in range(1, n):
            following = Plain(i)
            following.previous = node
            node.y = following
            node = following
        return first

    assert encode(chain(2000)) == encode(chain(2000)) != encode(chain(2001))


def test_a_graph_with_too_many_paths_is_refused_not_walked_for_ever(monkeypatch):
    monkeypatch.setattr("scalable_cas.keys.encode._DETOURS", 1000)
    nodes = [Plain(i) for i in range(30)]
    for node in nodes:
        node.y = [other for other in nodes if other is not node]
    with pytest.raises(Refused, match="too many paths"):
        encode(nodes)


def test_a_nearly_full_stack_is_no_obstacle():
    def deeper(left):
        return deeper(left - 1) if left else encode(value)

    value = nested("list", 35)  # 70 frames of the fast engine
    expected = encode(value)
    frame, used = sys._getframe(), 0
    while frame:
        frame, used = frame.f_back, used + 1
    assert deeper(sys.getrecursionlimit() - used - 30) == expected


def test_a_dict_that_another_thread_changes_is_some_state_of_it():
    value = {i: i for i in range(2000)}
    stop = threading.Event()

    def change():
        i = 2000
        while not stop.is_set():
            value[i] = i
            value.pop(i - 500, None)
            i += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(50):
            assert encode(value)[:1] == b"H"
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("size", [1, 5, 6, 7, 20, 64, 65, 200])
def test_dicts_whose_keys_come_again(size):
    """From the third time on, such a dict is encoded by its shape; the bytes are those of the first time."""
    keys = [f"key {i * 7919 % 1000}" for i in range(size)]
    for values in (
        range(size),
        [None] * size,
        [[i] for i in range(size)],
        [{"n": True}] * size,
        ["x" * 900] * size,
    ):
        value = dict(zip(keys, values, strict=True))
        expected = _Deep(Walk([])).run(value)
        assert [encode(value) for _ in range(4)] == [expected] * 4
        assert encode(dict(reversed(value.items()))) == expected


def test_keys_that_only_look_like_a_known_shape():
    plain = {f"k{i}": i for i in range(10)}
    for _ in range(3):
        encode(plain)
    other = {Text(key): i for key, i in plain.items()}
    one = {Text(key) if key == "k3" else key: i for key, i in plain.items()}
    numbers, floats = {i: i for i in range(10)}, {float(i): i for i in range(10)}
    for _ in range(3):
        assert len({encode(value) for value in (plain, other, one, numbers, floats)}) == 5


def test_temporary_values_cannot_be_confused_by_their_ids():
    """What __scalable_key__ returns dies at once; its address is used again by the next one."""
    values = [Keyed([i] * 300) for i in range(50)]
    gc.collect()
    assert len({encode([value]) for value in values}) == 50
    assert encode(values) == encode([Keyed([i] * 300) for i in range(50)])


def test_an_encoding_is_never_much_longer_than_a_kibibyte():
    for value in ("x" * 10_000, b"x" * 10_000, 1 << 100_000, [*range(500)], {str(i): i for i in range(500)}):
        assert len(encode(value)) <= 1024 + 9


@pytest.mark.parametrize("size", range(1010, 1030))
def test_the_size_rule_is_exact(size):
    text = "x" * size
    assert encode(text)[:1] == (b"s" if size <= 1024 else b"S")
    assert encode(text.encode())[:1] == (b"b" if size <= 1024 else b"B")
    one = ["y" * (size - 18)]  # list head 9, str head 9
    plain = b"l" + (1).to_bytes(8, "little") + b"s" + (size - 18).to_bytes(8, "little") + b"y" * (size - 18)
    assert encode(one) == (plain if size <= 1024 else b"H" + blake3(plain).digest())


LOCK = threading.Lock()
PATHS = [
    (LOCK, ""),
    ([1, LOCK], "[1]"),
    ((LOCK,), "[0]"),
    ({"model": types.SimpleNamespace(loss=LOCK)}, '["model"].loss'),
    ({"a": [{"b": Plain(LOCK)}]}, '["a"][0]["b"].x'),
    (Data(b=[LOCK]), ".b[0]"),
    ({1: LOCK}, "[1]"),
    ({(1, 2): LOCK}, "[tuple]"),
    ({object(): 1}, "{key}"),
    ({object()}, "{item}"),
    ({"k" * 100: LOCK}, '["' + "k" * 39 + '…"]'),
    (Keyed(1, LOCK), "[1]"),
    ([[*range(5000)], LOCK], "[1]"),
]


@pytest.mark.parametrize("value, path", PATHS, ids=[path or "itself" for _, path in PATHS])
def test_the_path_to_what_is_refused(value, path):
    with pytest.raises(Refused) as refused:
        encode(value)
    assert refused.value.path == path


def test_a_captured_value_is_named_in_the_path():
    def function():
        return stream

    with open(__file__, "rb") as stream, pytest.raises(Refused) as refused:
        encode([function])
    assert refused.value.path == "[0].stream"
    assert "FileType" in refused.value.reason
