"""pandas: what comes back is what went in, with or without pyarrow, column by column."""

from __future__ import annotations

import datetime as dt
import decimal
import zoneinfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalable_cas.codecs import decode, encode
from scalable_cas.codecs.encoded import OUT_OF_BAND
from tests.codecs.same_values import identical
from tests.codecs.samples import Plain

LARGE = OUT_OF_BAND // 8
ROWS = 6


def there_and_back(value, *, codec="pandas", trusted=False, buffer=bytes):
    encoded = encode(value)
    assert encoded.codec == codec
    parts = [buffer(memoryview(part).cast("B")) for part in encoded.buffers]
    return decode(encoded.codec, encoded.head, parts, trusted=trusted)


def missing_or(strategy):
    return st.lists(st.none() | strategy, min_size=ROWS, max_size=ROWS)


def full(strategy):
    return st.lists(strategy, min_size=ROWS, max_size=ROWS)


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
int64 = st.integers(-(2**63), 2**63 - 1)
moments = st.integers(-(2**62), 2**62)
zones = st.sampled_from(
    [
        dt.UTC,
        dt.timezone(dt.timedelta(hours=2)),
        zoneinfo.ZoneInfo("Europe/Paris"),
        zoneinfo.ZoneInfo("America/New_York"),
    ]
)
units = st.sampled_from(["s", "ms", "us", "ns"])


@st.composite
def times(draw):
    unit = draw(units)
    limit = 10**17 if unit == "ns" else 10**11  # within what zones are known for
    index = pd.DatetimeIndex(
        np.array(draw(full(st.integers(-limit, limit) | st.just(-(2**63)))), f"M8[{unit}]")
    )
    if draw(st.booleans()):
        index = index.tz_localize("UTC").tz_convert(draw(zones))
    return index.array


@st.composite
def categories(draw):
    found = draw(
        st.lists(texts, min_size=1, max_size=4, unique=True)
        | st.lists(int64, min_size=1, max_size=4, unique=True)
    )
    codes = draw(full(st.integers(-1, len(found) - 1)))
    return pd.Categorical.from_codes(codes, found, ordered=draw(st.booleans()))


@st.composite
def sparse(draw):
    values = np.array(draw(full(st.sampled_from([0.0, 1.5, -0.0, np.nan]))))
    return pd.arrays.SparseArray(
        values,
        fill_value=draw(st.sampled_from([0.0, np.nan])),
        kind=draw(st.sampled_from(["integer", "block"])),
    )


@st.composite
def intervals(draw):
    ends = sorted(draw(st.lists(st.integers(-1000, 1000), min_size=ROWS + 1, max_size=ROWS + 1)))
    return pd.arrays.IntervalArray.from_breaks(
        ends, closed=draw(st.sampled_from(["left", "right", "both", "neither"]))
    )


plain_objects = (
    st.none() | st.just(np.nan) | st.just(pd.NA) | st.just(pd.NaT) | st.booleans() | st.integers() | st.floats() | texts
    | st.binary(max_size=4) | st.dates() | st.decimals(allow_nan=False) | st.tuples(st.integers(), texts)
)  # fmt: skip


@st.composite
def objects(draw):
    array = np.empty(ROWS, object)
    for place, item in enumerate(draw(full(plain_objects))):
        array[place] = item
    return array


arrays = (
    full(int64).map(lambda items: np.array(items, "i8"))
    | full(st.floats()).map(np.array)
    | full(st.floats(width=32)).map(lambda items: np.array(items, "f4"))
    | full(st.booleans()).map(np.array)
    | full(st.complex_numbers()).map(np.array)
    | st.builds(
        lambda items, name: pd.array(items, dtype=name),
        missing_or(st.integers(0, 100)),
        st.sampled_from(["Int8", "Int64", "UInt16", "Float32", "Float64"]),
    )
    | missing_or(st.booleans()).map(lambda items: pd.array(items, dtype="boolean"))
    | missing_or(texts).map(lambda items: pd.array(items, dtype="str"))
    | missing_or(texts).map(lambda items: pd.array(items, dtype="string"))
    | missing_or(texts).map(lambda items: pd.array(items, dtype=pd.StringDtype("python")))
    | times()
    | st.builds(lambda items, unit: pd.array(np.array(items, f"m8[{unit}]")), full(moments), units)
    | categories()
    | sparse()
    | intervals()
    | st.builds(
        lambda items, freq: pd.arrays.PeriodArray(np.array(items), dtype=pd.PeriodDtype(freq)),
        full(st.integers(-1000, 1000) | st.just(-(2**63))),
        st.sampled_from(["M", "D", "Q-OCT", "h", "2h", "Y-DEC"]),
    )
    | objects()
)


def _stamp(number, unit, zone):
    stamp = pd.Timestamp(np.datetime64(number, unit))
    return stamp if zone is None else stamp.tz_localize("UTC").tz_convert(zone)


names = st.none() | texts | st.integers() | st.tuples(texts, st.integers()) | st.just(pd.Timestamp("2020"))


@st.composite
def indexes(draw):
    match draw(st.sampled_from(["range", "plain", "multi", "freq"])):
        case "range":
            start, step = draw(st.integers(-5, 5)), draw(st.integers(1, 3))
            return pd.RangeIndex(start, start + ROWS * step, step, name=draw(names))
        case "multi":
            levels = [draw(arrays.filter(_can_index)) for _ in range(2)]
            return pd.MultiIndex.from_arrays(
                [pd.Index(level, dtype=level.dtype) for level in levels], names=[draw(names), draw(names)]
            )
        case "freq":
            zone = draw(st.none() | zones)
            return pd.date_range(
                "2020-03-01",
                periods=ROWS,
                freq=draw(st.sampled_from(["D", "h", "MS", "QS-FEB", "15min"])),
                tz=zone,
            )
    array = draw(arrays.filter(_can_index))
    return pd.Index(array, dtype=array.dtype, name=draw(names))


def _can_index(array):
    return type(array).__name__ != "SparseArray" and not (
        isinstance(array, np.ndarray) and (array.dtype.kind in "Oc" or array.dtype == np.float16)
    )


def _frame(columns, index, labels, attrs):
    series = [pd.Series(array, index=index, dtype=array.dtype) for array in columns]
    frame = pd.concat(series, axis=1) if series else pd.DataFrame(index=index)
    frame.columns = labels[: len(columns)]  # also one label twice
    frame.attrs = attrs
    return frame


frames = st.builds(
    _frame,
    st.lists(arrays, max_size=5),
    indexes(),
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=5, max_size=5),
    st.dictionaries(texts, st.integers(), max_size=2),
)


@given(frames)
def test_every_frame_comes_back(frame):
    assert identical(frame, there_and_back(frame))
    assert identical({"a": [frame]}, there_and_back({"a": [frame]}, codec="data"))


@given(frames)
def test_equal_frames_have_equal_bytes(frame):
    assert encode(frame).head == encode(frame.copy()).head


@given(arrays, indexes(), names)
def test_every_series_comes_back(array, index, name):
    series = pd.Series(array, index=index, dtype=array.dtype, name=name)
    back = there_and_back(series)
    assert identical(series, back)
    assert back.array is not series.array


@given(indexes())
def test_every_index_comes_back(index):
    assert identical(index, there_and_back(index))


@given(arrays.filter(lambda array: not isinstance(array, np.ndarray)))
def test_every_array_comes_back(array):
    assert identical(array, there_and_back(array))


@given(
    st.builds(_stamp, st.integers(-(10**11), 10**11), units, st.none() | zones)
    | st.builds(lambda number, unit: pd.Timedelta(np.timedelta64(number, unit)), moments, units)
    | st.builds(lambda ordinal, freq: pd.Period(ordinal=ordinal, freq=freq), st.integers(-1000, 1000), st.sampled_from(["M", "D", "3h"]))
    | st.builds(lambda left, size, closed: pd.Interval(left, left + size, closed), st.integers(-9, 9), st.integers(0, 9), st.sampled_from(["left", "both"]))
    | st.sampled_from([pd.NA, pd.NaT])
)  # fmt: skip
def test_single_values(value):
    assert identical(value, there_and_back(value))
    assert identical([value], there_and_back([value], codec="data"))


def test_a_stamp_in_the_hour_that_comes_twice():
    for hour in (0, 1):
        stamp = pd.Timestamp(f"2020-10-25 {hour:02}:30", tz="UTC").tz_convert("Europe/Paris")
        back = there_and_back(stamp)
        assert (back.fold, back.utcoffset()) == (stamp.fold, stamp.utcoffset())


def test_each_column_has_a_buffer_of_its_own():
    one = pd.DataFrame(np.random.default_rng(0).random((LARGE, 3)), columns=["a", "b", "c"])
    two = one.assign(b=one.b + 1)
    parts = [
        {bytes(memoryview(buffer).cast("B")) for buffer in encode(frame).buffers} for frame in (one, two)
    ]
    assert len(parts[0]) == len(parts[1]) == 3
    assert len(parts[0] & parts[1]) == 2


def test_large_columns_are_neither_copied_nor_joined():
    frame = pd.DataFrame({name: np.arange(LARGE * 2.0) for name in "abc"})
    encoded = encode(frame)
    assert np.shares_memory(np.frombuffer(encoded.buffers[0]), frame["a"].to_numpy())
    memory = [bytearray(memoryview(part).cast("B")) for part in encoded.buffers]
    back = decode("pandas", encoded.head, memory, trusted=True)
    assert np.shares_memory(np.frombuffer(memory[1]), back["b"].to_numpy())
    back.loc[0, "b"] = 7.0
    assert back["b"].iloc[0] == 7.0


def test_small_columns_are_joined_and_so_are_many():
    small = pd.DataFrame({f"c{at}": [1.0, 2.0] for at in range(200)})
    large = pd.DataFrame({f"c{at}": np.zeros(LARGE) for at in range(120)})
    for frame in (small, large):
        back = there_and_back(frame)
        assert identical(frame, back)
        back["new"] = 1  # with more than 100 blocks pandas warns, and a warning is an error here
        assert len(back._mgr.blocks) < 5


def test_labels_that_may_not_repeat():
    frame = pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False)
    assert there_and_back(frame).flags.allows_duplicate_labels is False


def test_attrs_with_values_of_libraries():
    frame = pd.DataFrame({"a": [1.0]})
    frame.attrs = {"mean": np.float64(1.5), "mask": np.array([True])}
    assert identical(frame, there_and_back(frame))


@pytest.mark.parametrize(
    "value",
    [
        pd.DataFrame({"a": [Plain(1)]}),
        type("Mine", (pd.DataFrame,), {})({"a": [1]}),
        pd.date_range("2020", periods=2, freq=pd.offsets.CustomBusinessDay(holidays=["2020-01-02"])),
    ],
    ids=["objects", "subclass", "holidays"],
)
def test_what_only_pickle_gives_back(value):
    from scalable_cas.codecs.plain import encode as encode_plain

    assert encode_plain(value) is None


def test_decimals_in_a_column():
    frame = pd.DataFrame({"price": [decimal.Decimal("1.50"), None]})
    assert identical(frame, there_and_back(frame))


WITHOUT_PYARROW = """
import sys
sys.modules["pyarrow"] = None
sys.path.insert(0, {root!r})
import pandas as pd
from scalable_cas.codecs import decode, encode
encoded = {encoded!r}
frame = decode("pandas", encoded[0], encoded[1], trusted=False)
print(frame.s.tolist(), frame.t.isna().tolist(), frame.s.dtype == "str", frame.t.dtype.storage)
again = encode(frame)
print(again.codec, again.head.hex())
"""


def test_with_and_without_pyarrow(run):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"s": ["a", "é", "x" * 10], "t": pd.array(["a", None, ""], dtype="string")})
    assert frame.s.dtype.storage == "pyarrow"
    encoded = encode(frame)
    from pathlib import Path

    program = WITHOUT_PYARROW.format(
        root=str(Path(__file__).resolve().parents[2]), encoded=(encoded.head, [])
    )
    done = run("-c", program)
    lines = done.stdout.splitlines()
    assert lines[0] == "['a', 'é', 'xxxxxxxxxx'] [False, True, False] True python", done.stderr
    codec, head = lines[1].split()
    assert codec == "pandas"
    back = decode("pandas", bytes.fromhex(head), [], trusted=False)
    assert back.s.tolist() == frame.s.tolist()
    assert back.t.isna().tolist() == [False, True, False]
