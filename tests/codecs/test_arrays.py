"""numpy: what comes back is what went in, and memory is not copied where it need not be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scalable_cas.codecs import decode, encode
from scalable_cas.codecs.encoded import OUT_OF_BAND
from scalable_cas.errors import MalformedObject
from tests.codecs.same_values import identical
from tests.codecs.samples import Plain, Point

LARGE = OUT_OF_BAND // 8
PADDED = np.dtype([("a", "i1"), ("b", "<f8"), ("c", [("d", "?"), ("e", "<i4")])], align=True)


def there_and_back(value, *, codec="numpy", trusted=False, buffer=bytes, writable=True):
    encoded = encode(value)
    assert encoded.codec == codec
    parts = [buffer(memoryview(part).cast("B")) for part in encoded.buffers]
    return decode(encoded.codec, encoded.head, parts, trusted=trusted, writable=writable)


dtypes = st.recursive(
    hnp.scalar_dtypes().filter(lambda dtype: dtype.kind != "O" and dtype.itemsize > 0),
    lambda inner: hnp.array_dtypes(subtype_strategy=inner, max_size=3, allow_subarrays=True),
    max_leaves=4,
)


@st.composite
def arrays(draw):
    dtype = draw(dtypes)
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    size = int(np.prod(shape)) * dtype.itemsize
    data = draw(st.binary(min_size=size, max_size=size))
    array = np.frombuffer(data, "u1").copy()
    array = np.ndarray(shape, dtype, array if size else None)
    _tame(array)
    match draw(st.sampled_from(["C", "F", "T", "step", "reverse"])):
        case "F":
            return np.asfortranarray(array) if array.ndim else array
        case "T":
            return array.T
        case "step":
            return array[::2] if array.ndim else array
        case "reverse":
            return array[..., ::-1] if array.ndim else array
    return array


def _tame(array):
    """Truth values are 0 or 1, and characters are characters: numpy makes no others."""
    if array.dtype.names is not None:
        for name in array.dtype.names:
            _tame(array[name])
    elif array.dtype.kind == "b":
        array.view("u1")[...] &= np.uint8(1)
    elif array.dtype.kind == "U":
        array[...] = "ab"


@given(arrays())
def test_every_array_comes_back(array):
    for buffer in (bytes, bytearray):
        assert identical(array, there_and_back(array, buffer=buffer))
    assert identical([array, 1], there_and_back([array, 1], codec="data"))


@given(arrays())
def test_equal_arrays_have_equal_bytes(array):
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    again = np.empty(array.shape, array.dtype, order)
    again.view()[...] = array
    one, two = encode(array), encode(again)
    assert one.head == two.head


@given(hnp.from_dtype(np.dtype("f8")) | hnp.scalar_dtypes().flatmap(hnp.from_dtype))
def test_scalars(value):
    value = np.asarray(value)[()]
    back = there_and_back(value)
    assert type(back) is type(value)
    assert np.asarray(back).tobytes() == np.asarray(value).tobytes()


@given(
    st.lists(
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.floats()
        | st.text(st.characters(exclude_categories=()), max_size=5)
        | st.binary(max_size=5)
        | st.dates()
        | st.lists(st.integers(), max_size=2)
        | st.builds(np.int8, st.integers(0, 5)),
        max_size=12,
    )
)
def test_objects_that_are_plain(items):
    array = np.empty(len(items), object)
    array[:] = items if not any(type(item) is list for item in items) else [None] * len(items)
    for place, item in enumerate(items):
        array[place] = item
    assert identical(array, there_and_back(array))


def test_a_nan_that_everybody_has_is_that_nan():
    back = there_and_back(np.array([np.nan, "x", float("nan")], object))
    nan = np.nan
    assert back[0] is nan
    assert back[2] is nan


def test_objects_that_are_not_plain_go_to_pickle():
    assert encode(np.array([Plain(1)], object)).codec == "pickle"
    assert encode(np.array([(1, None)], [("a", "i4"), ("b", object)])).codec == "pickle"


@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_is_that_of_the_array(order):
    array = (
        np.asfortranarray(np.arange(LARGE * 4.0).reshape(2, -1)) if order == "F" else np.arange(LARGE * 4.0)
    )
    encoded = encode(array)
    (buffer,) = encoded.buffers
    assert np.shares_memory(np.frombuffer(buffer, "f8"), array)
    assert memoryview(buffer).itemsize == 8
    memory = bytearray(memoryview(buffer).cast("B"))
    back = decode("numpy", encoded.head, [memory], trusted=False)
    assert np.shares_memory(np.frombuffer(memory, "f8"), back)
    assert identical(array, back)


def test_a_large_array_needs_no_second_memory():
    import tracemalloc

    array = np.zeros(12_500_000)
    tracemalloc.start()
    try:
        encoded = encode({"a": array})
        decode(encoded.codec, encoded.head, [array.copy().data.cast("B")], trusted=True)
        assert tracemalloc.get_traced_memory()[1] < array.nbytes * 1.01 + (1 << 20)  # the one copy above
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "dtype, itemsize",
    [("f8", 8), ("f4", 4), ("i2", 2), ("u1", 1), ("c16", 8), ("c8", 4), ("U3", 4), ("S3", 1), ("M8[s]", 8)],
)
def test_a_buffer_says_how_large_its_elements_are(dtype, itemsize):
    (buffer,) = encode(np.zeros(OUT_OF_BAND, dtype)).buffers
    assert memoryview(buffer).itemsize == itemsize


def test_read_only_memory_is_copied_unless_a_view_will_do():
    array = np.arange(LARGE * 2.0)
    data = array.tobytes()
    head = encode(array).head
    back = decode("numpy", head, [data], trusted=True)
    back[0] = 5
    assert data == array.tobytes()
    view = decode("numpy", head, [data], trusted=True, writable=False)
    assert np.shares_memory(view, np.frombuffer(data))
    assert not view.flags.writeable


def test_memory_that_does_not_lie_right_is_copied():
    array = np.arange(LARGE * 2.0)
    memory = memoryview(bytearray(array.nbytes + 1))[1:]
    memory[:] = array.tobytes()
    back = decode("numpy", encode(array).head, [memory], trusted=True)
    assert identical(array, back)


def test_padding_is_not_stored():
    array = np.frombuffer(b"\xff" * PADDED.itemsize * 3, PADDED).copy()
    array["a"], array["b"], array["c"]["d"], array["c"]["e"] = 1, 2.0, True, 3
    clean = np.zeros(3, PADDED)
    clean["a"], clean["b"], clean["c"]["d"], clean["c"]["e"] = 1, 2.0, True, 3
    assert encode(array).head == encode(clean).head
    assert identical(array, there_and_back(array))


def test_long_doubles():
    value = np.array([1.1, 2.2], np.longdouble)
    for array in (
        value,
        value + 1j,
        np.array([(1, value[0])], [("a", "i1"), ("b", np.longdouble)]),
        value[::2],
    ):
        assert identical(array, there_and_back(array))
    dirty = value.copy()
    dirty.view("u1").reshape(2, -1)[:, 10:] = 7
    if np.finfo(np.longdouble).nmant == 63:
        assert encode(dirty).head == encode(value).head


@pytest.mark.parametrize(
    "array",
    [
        np.ma.array([1, 2, 3], mask=[0, 1, 0]),
        np.ma.array([1.0, 2.0]),
        np.ma.array([1.0], mask=False, fill_value=7, hard_mask=True),
        np.ma.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")], mask=[(True, False)]),
        np.ma.array(["a", "b"], mask=[True, False]),
        np.ma.masked,
    ],
    ids=repr,
)
def test_masked_arrays(array):
    assert identical(array, there_and_back(array))


def test_subclasses_of_numpy(tmp_path):
    records = np.rec.array([(1, "x")], dtype=[("n", "i8"), ("s", "U1")])
    back = there_and_back(records)
    assert type(back) is np.recarray
    assert back.n[0] == 1
    mapped = np.memmap(tmp_path / "a", "f8", "w+", shape=(3,))
    mapped[:] = 1.5
    back = there_and_back(mapped)
    assert type(back) is np.memmap
    assert identical(np.asarray(back), np.asarray(mapped).copy())

    class Mine(np.ndarray):
        pass

    assert encode(np.zeros(2).view(Mine)).codec == "pickle"


@dataclass
class Result:
    name: str
    values: np.ndarray
    parts: list[np.ndarray]


def test_arrays_in_containers():
    large = np.arange(LARGE + 0.0)
    value = {
        "a": [large, np.arange(3)],
        "b": Result("x", large + 1, [large + 2]),
        "c": (Point(1, np.float32(2)), {np.int64(4): np.datetime64("2020")}),
        "d": {np.float64(1.5), np.str_("x")},
    }
    encoded = encode(value)
    assert encoded.codec == "data"
    assert [memoryview(buffer).nbytes for buffer in encoded.buffers] == [large.nbytes] * 3
    back = there_and_back(value, codec="data")
    assert identical(value["a"], back["a"])
    assert identical(value["b"], back["b"])
    assert identical(value["c"], back["c"])
    assert back["d"] == value["d"]
    assert {type(item) for item in back["d"]} == {np.float64, np.str_}


def test_the_same_array_twice_is_one_array_after_a_hit():
    array = np.zeros(3)
    encoded = encode([array, array])
    assert encoded.codec == "data"
    back = decode("data", encoded.head, encoded.buffers, trusted=True)
    assert back[0] is back[1]


def test_values_that_share_arrays_share_buffers():
    rng = np.random.default_rng(0)
    shared = [rng.random(LARGE * 2) for _ in range(4)]
    seen = set()
    for _ in range(20):
        for buffer in encode(dict(enumerate([*shared, rng.random(LARGE * 2)]))).buffers:
            seen.add(bytes(memoryview(buffer).cast("B")))
    assert len(seen) == 4 + 20


@pytest.mark.parametrize(
    "text",
    [
        "O",
        "f8",
        "<f8,<f8",
        "(2,)<f8",
        "<f9",
        "=f8",
        "|f8",
        "<U-1",
        "<M8[xx]",
        "object",
        "<V99999999999",
        "d",
        "<M8[",
        "",
    ],
)
def test_texts_that_are_no_dtype(text):
    import msgpack

    for name, rest in (("numpy.array", [[0], "C", b""]), ("numpy.scalar", [b""]), ("numpy.dtype", [])):
        if (name, text) == ("numpy.dtype", "O"):
            continue
        head = b"\xc1" + msgpack.packb([msgpack.ExtType(51, b""), name, text, *rest])
        with pytest.raises(MalformedObject):
            decode("numpy", head, [], trusted=True)
