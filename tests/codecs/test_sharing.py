"""A mutable object that occurs twice in a result is one object again after a hit, without pickle."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalable_cas.codecs.base import decode, encode
from scalable_cas.errors import MalformedObject


@dataclass
class Box:
    content: object
    other: object = None


def there_and_back(value, trusted=True):
    encoded = encode(value)
    assert encoded.codec != "pickle"
    return decode(encoded.codec, encoded.head, tuple(encoded.buffers), trusted=trusted)


def outline(value, seen):
    """A value as nested tuples in which each mutable object has the number of its first occurrence."""
    kind = type(value)
    if kind in (list, dict, Box, defaultdict, OrderedDict, bytearray, np.ndarray):
        if id(value) in seen:
            return ("again", seen[id(value)])
        seen[id(value)] = len(seen)
    if kind in (list, tuple):
        return (kind, *(outline(item, seen) for item in value))
    if kind in (dict, defaultdict, OrderedDict):
        return (kind, *((outline(key, seen), outline(item, seen)) for key, item in value.items()))
    if kind is Box:
        return (kind, outline(value.content, seen), outline(value.other, seen))
    if kind is np.ndarray:
        return (kind, value.dtype, value.shape, value.tobytes())
    return (kind, bytes(value) if kind is bytearray else value)


numbers = np.arange(3.0)
large = np.arange(20_000.0)
row = [0]
box = Box(row)


@pytest.mark.parametrize(
    "value",
    [
        [row, row],
        {"a": row, "b": {"c": row}},
        {"x": large, "y": large, "z": [large]},
        {"x": numbers, "y": (numbers, numbers)},
        [box, Box(box, row), (box,)],
        [[row, row], [row, [row]]],
        {(1, 2): row, (3, 4): row},
        OrderedDict(a=row, b=OrderedDict(c=row)),
        defaultdict(list, a=row, b=row),
        [bytearray(b"x")] * 3,
        [1 << 80, row, row],
        [pd.DataFrame({"a": [1]}).attrs, row, row],
    ],
)
@pytest.mark.parametrize("trusted", [True, False])
def test_one_object_twice_is_one_object_again(value, trusted):
    back = there_and_back(value, trusted)
    assert outline(back, {}) == outline(value, {})


def test_frames_that_are_shared_are_shared_again():
    frame = pd.DataFrame({"a": np.arange(10.0)})
    back = there_and_back({"a": frame, "b": [frame]})
    assert back["a"] is back["b"][0]
    assert back["a"].equals(frame)


def test_what_stands_in_another_order_than_it_is_walked_is_given_back_all_the_same():
    """The columns of a frame are walked before its attrs, and stand behind them."""
    frame = pd.DataFrame({"a": [row, None]})
    frame.attrs["row"] = row
    encoded = encode(frame)
    back = decode(encoded.codec, encoded.head, tuple(encoded.buffers), trusted=True)
    assert back.attrs["row"] is back["a"][0]


def test_what_contains_itself_goes_to_pickle():
    ring = [1]
    ring.append(ring)
    assert encode(ring).codec == "pickle"


def test_many_levels_of_shared_lists_take_neither_time_nor_room():
    value = [0]
    for _ in range(90):
        value = [value, value]
    encoded = encode(value)
    assert encoded.codec == "plain"
    assert len(encoded.head) < 3000
    back = decode("plain", encoded.head, (), trusted=False)
    for _ in range(90):
        assert back[0] is back[1]
        back = back[0]
    assert back == [0]


@given(st.data())
def test_any_graph_without_rings_comes_back_as_it_was(data):
    made: list = [[1], {"k": 2}, Box(3), bytearray(b"4"), np.arange(5)]
    for _ in range(data.draw(st.integers(1, 8))):
        parts = [data.draw(st.sampled_from(made)) for _ in range(data.draw(st.integers(1, 3)))]
        kind = data.draw(st.sampled_from(["list", "dict", "tuple", "box", "default"]))
        if kind == "list":
            made.append(parts)
        elif kind == "dict":
            made.append(dict(enumerate(parts)))
        elif kind == "tuple":
            made.append(tuple(parts))
        elif kind == "box":
            made.append(Box(parts[0], parts[-1]))
        else:
            made.append(defaultdict(list, enumerate(parts)))
    value = made[-1]
    for trusted in (True, False):
        assert outline(there_and_back(value, trusted), {}) == outline(value, {})


@pytest.mark.parametrize(
    "head",
    [
        "c1 d6 0e 00000000",  # a number that no object has
        "c1 92 93 c70034 00 90 d6 0e 00000001",
        "c1 92 93 c70034 00 90 93 c70034 00 90",  # a number twice
        "c1 93 c70034 00 92 c70020 01",  # a tuple
        "c1 93 c70034 a0 90",  # a text for a number
        "c1 92 c70034 00",
        "c1 93 c70034 00 c70020",  # a mark
        "c1 93 c70034 00 96 c70031 02 a162 a142 9163 c0",
        "c1 d5 0e 0000",
    ],
)
@pytest.mark.parametrize("trusted", [True, False])
def test_malformed_numbers_are_refused(head, trusted):
    with pytest.raises(MalformedObject):
        decode("plain", bytes.fromhex(head.replace(" ", "")), (), trusted=trusted)
