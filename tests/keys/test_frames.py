"""pandas: pairs that are two keys, pairs that are one, and what no layout in memory may change."""

from __future__ import annotations

import copy
import datetime as dt
import pickle
import subprocess
import sys
import threading
import tracemalloc
import zoneinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalable_cas.keys.columns import hash_rows
from scalable_cas.keys.encode import _Deep, encode
from scalable_cas.keys.nodes import Refused, Walk
from scalable_cas.keys.registry import _registered, register_key

from .pair_tables import pair_tests

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")

NEW = int(pd.__version__.partition(".")[0]) >= 3
STORAGES = ["python"]
try:
    import pyarrow as pa
except ImportError:
    pa = None
else:
    STORAGES.append("pyarrow")
needs_arrow = pytest.mark.skipif(pa is None, reason="pyarrow is not installed")


def frame(content=None, **more):
    return pd.DataFrame(content or {"a": [1, 2, 3], "b": [1.5, 2.5, 3.5]}, **more)


def objects(*items):
    return pd.Series([*items], dtype=object)


def texts(*items, storage="python", nan=False):
    """A series of texts, missing values being NaN or NA."""
    if nan:
        dtype = pd.StringDtype(storage, na_value=np.nan) if NEW else "string[pyarrow_numpy]"
    else:
        dtype = pd.StringDtype(storage)
    return pd.Series([*items], dtype=dtype)


def changed(value, change):
    copied = value.copy()
    change(copied)
    return copied


def with_attrs(value, **attrs):
    copied = value.copy()
    copied.attrs.update(attrs)
    return copied


def named(value, name):
    vars(value)["called"] = name
    return value


def large(cell=None):
    numbers = pd.DataFrame({"a": np.arange(200_000), "b": np.arange(200_000) * 0.5})
    if cell is not None:
        numbers.iloc[cell, 1] = -1.0
    return numbers


def multi(levels, codes, names=None):
    return pd.MultiIndex(levels=levels, codes=codes, names=names)


TIMES = pd.date_range("2024-03-30", periods=4, freq="D")
POSITIONS = [0, 1, 2]

DIFFERENT = {
    # frames
    "value": (frame(), frame({"a": [1, 2, 4], "b": [1.5, 2.5, 3.5]})),
    "one cell in the middle of 200,000 rows": (large(), large(cell=123_456)),
    "columns renamed": (frame(), frame().rename(columns={"a": "c"})),
    "columns in another order": (frame(), frame()[["b", "a"]]),
    "values of columns exchanged": (frame({"a": [1], "b": [2]}), frame({"a": [2], "b": [1]})),
    "which of two equal names": (
        pd.DataFrame([[1, 2]], columns=["x", "x"]),
        pd.DataFrame([[2, 1]], columns=["x", "x"]),
    ),
    "a column of another dtype": (frame(), frame().astype({"a": "int32"})),
    "int column and float column": (frame({"a": [1, 2]}), frame({"a": [1.0, 2.0]})),
    "columns int and str": (pd.DataFrame([[1]], columns=[0]), pd.DataFrame([[1]], columns=["0"])),
    "index": (frame(), frame(index=[1, 2, 3])),
    "range and equal numbers": (frame(), frame(index=np.arange(3))),
    "name of the index": (frame(), frame().rename_axis("n")),
    "name of the columns": (frame(), frame().rename_axis("n", axis=1)),
    "attrs": (frame(), with_attrs(frame(), unit="m")),
    "value of attrs": (with_attrs(frame(), unit="m"), with_attrs(frame(), unit="km")),
    "labels may repeat": (frame(), frame().set_flags(allows_duplicate_labels=False)),
    "empty, with and without columns": (pd.DataFrame(), pd.DataFrame({"a": []})),
    "empty, of two lengths": (pd.DataFrame(index=[0, 1]), pd.DataFrame(index=[0, 1, 2])),
    "empty, of two dtypes": (
        pd.DataFrame({"a": np.array([], "f8")}),
        pd.DataFrame({"a": np.array([], "i8")}),
    ),
    "transposed square": (pd.DataFrame([[1, 2], [3, 4]]), pd.DataFrame([[1, 3], [2, 4]])),
    "frame of one column and series": (frame()[["a"]], frame()["a"]),
    "-0.0": (frame({"a": [0.0]}), frame({"a": [-0.0]})),
    "NaN and a number": (frame({"a": [np.nan]}), frame({"a": [0.0]})),
    "complex": (frame({"a": [1 + 0j]}), frame({"a": [1 + 1j]})),
    # series
    "series name": (pd.Series([1], name="a"), pd.Series([1], name="b")),
    "series name None and text": (pd.Series([1]), pd.Series([1], name="None")),
    "series name 1 and '1'": (pd.Series([1], name=1), pd.Series([1], name="1")),
    "series index": (pd.Series([1, 2]), pd.Series([1, 2], index=[0, 2])),
    "series attrs": (pd.Series([1]), with_attrs(pd.Series([1]), a=1)),
    "series and array": (pd.Series([1]), pd.Series([1]).array),
    "series and index": (pd.Series([1], index=[0]), pd.Index([1])),
    "series and ndarray": (pd.Series([1]), pd.Series([1]).to_numpy()),
    # indexes
    "range start": (pd.RangeIndex(0, 3), pd.RangeIndex(1, 4)),
    "range step": (pd.RangeIndex(0, 3), pd.RangeIndex(0, 6, 2)),
    "range length": (pd.RangeIndex(3), pd.RangeIndex(4)),
    "range name": (pd.RangeIndex(3), pd.RangeIndex(3, name="n")),
    "range and index": (pd.RangeIndex(3), pd.Index([0, 1, 2])),
    "index dtype": (pd.Index([1, 2], dtype="int64"), pd.Index([1, 2], dtype="float64")),
    "index freq": (TIMES, pd.DatetimeIndex([*TIMES])),
    "which freq": (
        pd.date_range("2024-01-01", periods=1, freq="D"),
        pd.date_range("2024-01-01", periods=1, freq="h"),
    ),
    "timedelta freq": (
        pd.timedelta_range("1D", periods=3),
        pd.TimedeltaIndex([*pd.timedelta_range("1D", periods=3)]),
    ),
    "zone and none": (TIMES, TIMES.tz_localize("UTC")),
    "same instants, other zone": (
        TIMES.tz_localize("UTC"),
        TIMES.tz_localize("UTC").tz_convert("Asia/Tokyo"),
    ),
    "same clock, other zone": (TIMES.tz_localize("Europe/Paris"), TIMES.tz_localize("Europe/Rome")),
    "unit": (TIMES.as_unit("ns"), TIMES.as_unit("s")),
    "times and periods": (TIMES, TIMES.to_period()),
    "period freq": (
        pd.period_range("2024", periods=1, freq="D"),
        pd.period_range("2024", periods=1, freq="h"),
    ),
    "times and their numbers": (TIMES, pd.Index(TIMES.asi8)),
    "times and durations": (
        pd.DatetimeIndex(np.array([1], "M8[ns]")),
        pd.TimedeltaIndex(np.array([1], "m8[ns]")),
    ),
    "interval closed": (pd.interval_range(0, 2), pd.interval_range(0, 2, closed="left")),
    "interval bounds": (pd.IntervalIndex.from_tuples([(0, 2)]), pd.IntervalIndex.from_tuples([(0, 3)])),
    "interval dtype": (pd.interval_range(0, 2), pd.interval_range(0.0, 2.0)),
    "multi values": (
        pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]),
        pd.MultiIndex.from_tuples([("a", 2), ("b", 1)]),
    ),
    "multi names": (
        pd.MultiIndex.from_tuples([(1, 2)], names=["x", "y"]),
        pd.MultiIndex.from_tuples([(1, 2)], names=["y", "x"]),
    ),
    "multi and tuples": (
        pd.MultiIndex.from_tuples([(1, 2)]),
        pd.Index([(1, 2)], tupleize_cols=False),
    ),
    "multi level dtype": (multi([[1], [2]], [[0], [0]]), multi([[1.0], [2]], [[0], [0]])),
    "multi missing": (multi([[1], [2]], [[0, 0], [0, -1]]), multi([[1], [2]], [[0, 0], [0, 0]])),
    "multi order of the used levels": (
        multi([["a", "b"], [1]], [[0, 1], [0, 0]]),
        multi([["b", "a"], [1]], [[1, 0], [0, 0]]),
    ),
    # categories
    "category and object": (objects("a", "b"), objects("a", "b").astype("category")),
    "category order": (
        pd.Series(pd.Categorical(["a"], ["a", "b"])),
        pd.Series(pd.Categorical(["a"], ["b", "a"])),
    ),
    "category ordered": (pd.Categorical(["a"], ["a"]), pd.Categorical(["a"], ["a"], ordered=True)),
    "category unused": (pd.Categorical(["a"], ["a"]), pd.Categorical(["a"], ["a", "b"])),
    "category value": (pd.Categorical(["a"], ["a", "b"]), pd.Categorical(["b"], ["a", "b"])),
    "category missing": (pd.Categorical(["a"], ["a"]), pd.Categorical([None], ["a"])),
    "category dtype": (pd.Categorical([1]), pd.Categorical([1.0])),
    "category index and index": (pd.CategoricalIndex(["a"]), pd.Index(["a"], dtype=object)),
    # masked
    "Int64 and int64": (pd.Series([1], dtype="Int64"), pd.Series([1], dtype="int64")),
    "Int64 value": (pd.Series([1, None], dtype="Int64"), pd.Series([2, None], dtype="Int64")),
    "Int64 missing and 0": (pd.Series([1, None], dtype="Int64"), pd.Series([1, 0], dtype="Int64")),
    "Int64 and Int32": (pd.Series([1], dtype="Int64"), pd.Series([1], dtype="Int32")),
    "Int64 and UInt64": (pd.Series([1], dtype="Int64"), pd.Series([1], dtype="UInt64")),
    "Float64 and Int64": (pd.Series([0], dtype="Int64"), pd.Series([0], dtype="Float64")),
    "boolean and Int8": (pd.Series([True], dtype="boolean"), pd.Series([1], dtype="Int8")),
    "boolean missing": (pd.Series([None], dtype="boolean"), pd.Series([False], dtype="boolean")),
    "boolean and bool": (pd.Series([True], dtype="boolean"), pd.Series([True])),
    # texts
    **{
        f"{what} ({storage})": (texts(*first, storage=storage), texts(*second, storage=storage))
        for storage in STORAGES
        for what, first, second in (
            ("text value", ["x", "q"], ["y", "z"]),
            ("text boundary", ["ab", "c"], ["a", "bc"]),
            ("text missing and empty", ["a", None], ["a", ""]),
            ("text missing at another place", ["a", None, "b"], ["a", "b", None]),
            ("text case", ["a"], ["A"]),
            ("text NFC and NFD", ["\u00e9"], ["e\u0301"]),
            ("text length", [""], ["", ""]),
            ("one of 200,000 texts", ["ab"] * 200_000, ["ab"] * 100_000 + ["ac"] + ["ab"] * 99_999),
        )
    },
    "text and object": (texts("a"), objects("a")),
    "text and category": (texts("a"), texts("a").astype("category")),
    # sparse
    "sparse and dense": (pd.Series([0, 1], dtype="Sparse[int]"), pd.Series([0, 1])),
    "sparse value": (pd.Series([0, 1], dtype="Sparse[int]"), pd.Series([0, 2], dtype="Sparse[int]")),
    "sparse place": (pd.Series([0, 1], dtype="Sparse[int]"), pd.Series([1, 0], dtype="Sparse[int]")),
    "sparse fill": (
        pd.arrays.SparseArray([0, 1], fill_value=0),
        pd.arrays.SparseArray([0, 1], fill_value=1),
    ),
    "sparse fill with nothing to fill": (
        pd.arrays.SparseArray([5.0], fill_value=0.0),
        pd.arrays.SparseArray([5.0], fill_value=np.nan),
    ),
    "sparse length": (pd.Series([0, 0], dtype="Sparse[int]"), pd.Series([0, 0, 0], dtype="Sparse[int]")),
    # objects
    "object 1 and 1.0": (objects(1), objects(1.0)),
    "object 1 and True": (objects(1), objects(True)),
    "object 1 and '1'": (objects(1), objects("1")),
    "object 1 and np.int64": (objects(1), objects(np.int64(1))),
    "object None and NaN": (objects(None), objects(np.nan)),
    "object None and NA": (objects(None), objects(pd.NA)),
    "object NaT and NA": (objects(pd.NaT), objects(pd.NA)),
    "object NaT and NaN": (objects(pd.NaT), objects(np.nan)),
    "object NaT and None": (objects(pd.NaT), objects(None)),
    "object str and bytes": (objects("a"), objects(b"a")),
    "object boundary": (objects("a-b", "c"), objects("a", "b-c")),
    "object list and tuple": (objects([1]), objects((1,))),
    "object Timestamp and datetime": (
        objects(pd.Timestamp("2024-01-01")),
        objects(dt.datetime(2024, 1, 1)),
    ),
    "object date and datetime": (objects(dt.date(2024, 1, 1)), objects(dt.datetime(2024, 1, 1))),
    "object and int": (objects(1), pd.Series([1])),
    # single values
    "NA and NaT": (pd.NA, pd.NaT),
    "NA and its name": (pd.NA, "pandas.NA"),
    "Timestamp": (pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-02")),
    "Timestamp ns": (pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-01 00:00:00.000000001")),
    "Timestamp unit": (pd.Timestamp("2024-01-01").as_unit("s"), pd.Timestamp("2024-01-01").as_unit("ms")),
    "Timestamp zone": (pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-01", tz="UTC")),
    "Timestamp other zone": (
        pd.Timestamp("2024-01-01", tz="UTC"),
        pd.Timestamp("2024-01-01", tz="UTC").tz_convert("Europe/Paris"),
    ),
    "Timestamp fixed zone": (
        pd.Timestamp("2024-01-01", tz=dt.timezone(dt.timedelta(hours=1))),
        pd.Timestamp("2024-01-01", tz=dt.timezone(dt.timedelta(hours=2))),
    ),
    "Timestamp fixed zone called UTC or not": (
        pd.Timestamp("2024-01-01", tz=dt.UTC),
        pd.Timestamp("2024-01-01", tz=dt.timezone(dt.timedelta(0), "Europe/Paris")),
    ),
    "Timestamp fold": (
        pd.Timestamp(
            year=2024, month=10, day=27, hour=2, minute=30, tz=zoneinfo.ZoneInfo("Europe/Paris"), fold=0
        ),
        pd.Timestamp(
            year=2024, month=10, day=27, hour=2, minute=30, tz=zoneinfo.ZoneInfo("Europe/Paris"), fold=1
        ),
    ),
    "Timedelta": (pd.Timedelta("1D"), pd.Timedelta("1D 1ns")),
    "Timedelta and timedelta": (pd.Timedelta("1D"), dt.timedelta(days=1)),
    "Timedelta unit": (pd.Timedelta("1D").as_unit("s"), pd.Timedelta("1D").as_unit("ns")),
    "Period": (pd.Period("2024-01", "M"), pd.Period("2024-02", "M")),
    "Period freq": (pd.Period("2024-01-01", "D"), pd.Period("2024-01-01", "h")),
    "Interval": (pd.Interval(0, 1), pd.Interval(0, 2)),
    "Interval closed": (pd.Interval(0, 1), pd.Interval(0, 1, closed="both")),
    "Interval dtype": (pd.Interval(0, 1), pd.Interval(0.0, 1.0)),
    # offsets and dtypes
    "offset n": (pd.offsets.MonthEnd(1), pd.offsets.MonthEnd(2)),
    "offset class": (pd.offsets.MonthEnd(), pd.offsets.MonthBegin()),
    "offset normalize": (pd.offsets.MonthEnd(), pd.offsets.MonthEnd(normalize=True)),
    "offset weekday": (pd.offsets.Week(weekday=0), pd.offsets.Week(weekday=1)),
    "offset day and 24 hours": (pd.offsets.Day(1), pd.offsets.Hour(24)),
    "offset parts": (pd.DateOffset(months=1), pd.DateOffset(month=1)),
    "offset holidays": (
        pd.offsets.CustomBusinessDay(holidays=["2024-01-01"]),
        pd.offsets.CustomBusinessDay(holidays=["2024-01-02"]),
    ),
    "offset week": (
        pd.offsets.CustomBusinessDay(weekmask="Mon Tue"),
        pd.offsets.CustomBusinessDay(weekmask="Mon Wed"),
    ),
    "offset opening": (pd.offsets.BusinessHour(start="09:00"), pd.offsets.BusinessHour(start="10:00")),
    "dtype": (pd.Int64Dtype(), pd.Int32Dtype()),
    "dtype categories": (pd.CategoricalDtype(["a"]), pd.CategoricalDtype(["b"])),
    "dtype no categories": (pd.CategoricalDtype(), pd.CategoricalDtype([])),
    "dtype ordered": (pd.CategoricalDtype(["a"]), pd.CategoricalDtype(["a"], ordered=True)),
    "dtype zone": (pd.DatetimeTZDtype("ns", "UTC"), pd.DatetimeTZDtype("ns", "Europe/Paris")),
    "dtype unit": (pd.DatetimeTZDtype("ns", "UTC"), pd.DatetimeTZDtype("s", "UTC")),
    "dtype period": (pd.PeriodDtype("D"), pd.PeriodDtype("h")),
    "dtype interval": (pd.IntervalDtype("int64", "left"), pd.IntervalDtype("int64", "right")),
    "dtype sparse": (pd.SparseDtype("int64", 0), pd.SparseDtype("int64", 1)),
    "dtype and its name": (pd.Int64Dtype(), "Int64"),
}

if pa is not None:
    DIFFERENT |= {
        "text NA and NaN": (texts("a"), texts("a", nan=True, storage="pyarrow")),
        "Arrow and numpy": (pd.Series([1], dtype="int64[pyarrow]"), pd.Series([1])),
        "Arrow and masked": (pd.Series([1], dtype="int64[pyarrow]"), pd.Series([1], dtype="Int64")),
        "Arrow value": (pd.Series([1], dtype="int64[pyarrow]"), pd.Series([2], dtype="int64[pyarrow]")),
        "Arrow dtype": (pd.Series([1], dtype="int64[pyarrow]"), pd.Series([1], dtype="int32[pyarrow]")),
        "Arrow text and text": (
            pd.Series(["a"], dtype=pd.ArrowDtype(pa.string())),
            texts("a", storage="pyarrow"),
        ),
        "dtype storage": (pd.StringDtype("python"), pd.StringDtype("pyarrow")),
        "dtype arrow": (pd.ArrowDtype(pa.int64()), pd.ArrowDtype(pa.int32())),
    }


def in_one_block():
    return pd.DataFrame(np.arange(12.0).reshape(4, 3), columns=["a", "b", "c"])


def column_by_column():
    built = pd.DataFrame(index=pd.RangeIndex(4))
    for place, name in enumerate(["a", "b", "c"]):
        built[name] = np.arange(12.0).reshape(4, 3)[:, place].copy()
    built.columns = in_one_block().columns
    return built


def masked(values, mask):
    return pd.arrays.IntegerArray(np.array(values), np.array(mask))


EQUAL = {
    "block layout": (in_one_block(), column_by_column()),
    "memory order": (
        in_one_block(),
        pd.DataFrame(np.asfortranarray(np.arange(12.0).reshape(4, 3)), columns=["a", "b", "c"]),
    ),
    "a column set anew": (frame(), changed(frame(), lambda f: f.__setitem__("a", [1, 2, 3]))),
    "transposed twice": (in_one_block(), in_one_block().T.T),
    "copy": (frame(), frame().copy()),
    "slice of rows": (
        large()[1000:1010].reset_index(drop=True),
        large()[1000:1010].reset_index(drop=True).copy(),
    ),
    "every second row": (
        large()[::2].reset_index(drop=True),
        pd.DataFrame({"a": np.arange(0, 200_000, 2), "b": np.arange(0, 200_000, 2) * 0.5}),
    ),
    "columns picked": (frame()[["a"]], frame({"a": [1, 2, 3]}, columns=frame().columns[:1])),
    "looked at before": (
        frame(),
        changed(frame(), lambda f: (f["a"], f.iloc[0], f.index.is_unique, f.columns.get_loc("b"))),
    ),
    "attrs emptied": (frame(), changed(with_attrs(frame(), a=1), lambda f: f.attrs.clear())),
    "attrs in another order": (with_attrs(frame(), a=1, b=2), with_attrs(frame(), b=2, a=1)),
    "range with another stop": (pd.RangeIndex(0, 5, 2), pd.RangeIndex(0, 6, 2)),
    "column times from an index with freq": (
        pd.Series(TIMES),
        pd.Series(pd.DatetimeIndex([*TIMES])),
    ),
    "multi unused levels": (
        pd.MultiIndex.from_product([["a", "b"], [1, 2]])[:2],
        pd.MultiIndex.from_product([["a", "b"], [1, 2]])[:2].remove_unused_levels(),
    ),
    "multi built otherwise": (
        pd.MultiIndex.from_product([["a", "b"], [1, 2]]),
        pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1), ("b", 2)]),
    ),
    "masked values": (masked([1, 2], [False, True]), masked([1, 99], [False, True])),
    "masked in a series": (
        pd.Series(masked([1, 2], [False, True])),
        pd.Series(masked([1, 99], [False, True])),
    ),
    "masked every second": (
        pd.Series(range(10), dtype="Int64")[::2].reset_index(drop=True),
        pd.Series(range(0, 10, 2), dtype="Int64"),
    ),
    "sparse kinds of index": (
        pd.arrays.SparseArray([0, 1, 0], kind="integer"),
        pd.arrays.SparseArray([0, 1, 0], kind="block"),
    ),
    "sparse fill of numpy": (
        pd.arrays.SparseArray([0, 1], fill_value=0),
        pd.arrays.SparseArray([0, 1], fill_value=np.int64(0)),
    ),
    "NaN": (frame({"a": [np.nan]}), frame({"a": [float("nan")]})),
    "names of UTC": (
        pd.Timestamp("2024-01-01", tz=dt.UTC),
        pd.Timestamp("2024-01-01", tz=zoneinfo.ZoneInfo("UTC")),
    ),
    "UTC in a dtype": (TIMES.tz_localize("UTC"), TIMES.tz_localize(zoneinfo.ZoneInfo("UTC"))),
    "ordered the same way": (pd.Categorical(["a", "b"]), pd.Categorical(["a", "b"], ["a", "b"])),
    "long texts of Python, cut in two": (
        texts(*["é" * (i % 50) for i in range(70_000)]),
        pd.concat(
            [texts(*["é" * (i % 50) for i in part]) for part in (range(9), range(9, 70_000))],
            ignore_index=True,
        ),
    ),
}

if pa is not None:
    EQUAL |= {
        "text of Python and of Arrow": (
            texts("a", "é", None, ""),
            texts("a", "é", None, "", storage="pyarrow"),
        ),
        "no text of Python and of Arrow": (texts(), texts(storage="pyarrow")),
        "many texts of Python and of Arrow": (
            texts(*map(str, range(70_000))),
            texts(*map(str, range(70_000)), storage="pyarrow"),
        ),
        "many texts and gaps": (
            texts(*[None if i % 7 else str(i) for i in range(70_000)]),
            texts(*[None if i % 7 else str(i) for i in range(70_000)], storage="pyarrow"),
        ),
        "texts sliced": (texts("a", "b", "c", storage="pyarrow")[1:].reset_index(drop=True), texts("b", "c")),
        "Arrow chunks": (
            pd.concat(
                [pd.Series([1], dtype="int64[pyarrow]"), pd.Series([2], dtype="int64[pyarrow]")],
                ignore_index=True,
            ),
            pd.Series([1, 2], dtype="int64[pyarrow]"),
        ),
    }
    if NEW:
        EQUAL["text with NaN, of Python and of Arrow"] = (
            texts("a", None, nan=True),
            texts("a", None, nan=True, storage="pyarrow"),
        )


test_two_keys, test_one_key = pair_tests(DIFFERENT, EQUAL)


SAMPLES = {
    **{name: pair[1] for name, pair in DIFFERENT.items()},
    **{name: pair[1] for name, pair in EQUAL.items()},
}


@pytest.mark.parametrize("name", SAMPLES)
def test_copies_and_both_engines(name):
    value = SAMPLES[name]
    encoded = encode(value)
    assert encode(copy.deepcopy(value)) == encoded
    assert encode(pickle.loads(pickle.dumps(value))) == encoded
    assert _Deep(Walk([])).run(value) == encoded
    assert encode({"deep": [value, value]}) == _Deep(Walk([])).run({"deep": [value, value]})


def test_there_are_enough_pairs():
    assert len(DIFFERENT) + len(EQUAL) >= 150


def test_arrays_of_times_by_themselves_have_keys():
    """An array of pandas 3.1 has no `freq`; to ask for it raised in the user's call."""
    times, zoned = pd.date_range("2020", periods=3), pd.date_range("2020", periods=3, tz="UTC")
    spans = pd.timedelta_range("1D", periods=3)
    keys = [encode(index.array) for index in (times, times[:2], zoned, spans)]
    assert len(set(keys)) == 4
    assert keys == [encode(index.array.copy()) for index in (times, times[:2], zoned, spans)]


def test_zones_of_pytz_are_those_of_zoneinfo():
    pytz = pytest.importorskip("pytz")
    for name in ("Europe/Paris", "UTC"):
        ours, theirs = zoneinfo.ZoneInfo(name), pytz.timezone(name)
        assert encode(TIMES.tz_localize(ours)) == encode(TIMES.tz_localize(theirs))
        assert encode(pd.Timestamp("2024-01-01", tz=ours)) == encode(pd.Timestamp("2024-01-01", tz=theirs))
    offset = pytz.FixedOffset(60)
    assert encode(TIMES.tz_localize(offset)) != encode(TIMES.tz_localize(pytz.FixedOffset(120)))
    assert encode(TIMES.tz_localize(offset)) != encode(TIMES)


# --- what is refused ---------------------------------------------------------------------------------------


class Table(pd.DataFrame):
    @property
    def _constructor(self):
        return Table


class Column(pd.Series):
    pass


class Money(pd.api.extensions.ExtensionDtype):
    name = "money"
    type = int

    @classmethod
    def construct_array_type(cls):
        return Coins


class Coins(pd.api.extensions.ExtensionArray):
    def __init__(self, values):
        self.values = values

    dtype = Money()

    @classmethod
    def _from_sequence(cls, scalars, *, dtype=None, copy=False):
        return cls([*scalars])

    def __len__(self):
        return len(self.values)

    def __getitem__(self, item):
        return self.values[item]

    def isna(self):
        return np.zeros(len(self.values), bool)

    def copy(self):
        return Coins([*self.values])

    def view(self, dtype=None):
        return self

    def take(self, indices, allow_fill=False, fill_value=None):
        return Coins([self.values[i] for i in indices])


def test_an_attribute_that_was_added_counts():
    one, other = encode(named(frame(), "one")), encode(named(frame(), "other"))
    assert one == encode(named(frame(), "one"))
    assert len({one, other, encode(frame())}) == 3
    series = pd.Series(["a"])
    assert len({encode(series), encode(named(series.copy(), 1)), encode(named(series.copy(), 2))}) == 3


@pytest.mark.parametrize(
    "index",
    [pd.Index([1]), pd.RangeIndex(2), pd.MultiIndex.from_tuples([(1, 2)], names=["a", "b"]), TIMES],
    ids=lambda index: type(index).__name__,
)
def test_an_attribute_that_an_index_was_given_counts(index):
    assert len({encode(index), encode(named(index.copy(), 1)), encode(named(index.copy(), 2))}) == 3


def test_what_pandas_keeps_in_an_instance_does_not_count():
    series, texts = pd.Series(["a"]), pd.Series(["a"])
    assert texts.str.upper()[0] == "A"
    vars(texts).setdefault("str", texts.str)  # pandas 2 does
    assert encode(texts) == encode(series)


def lock_in_attribute():
    return named(frame(), threading.Lock())


def lock_in_attrs():
    made = frame()
    made.attrs["lock"] = threading.Lock()
    return made


REFUSED = {
    "subclass of DataFrame": (lambda: Table({"a": [1]}), ""),
    "subclass of Series": (lambda: Column([1]), ""),
    "groups": (lambda: frame().groupby("a"), ""),
    "groups of a series": (lambda: frame()["b"].groupby(frame()["a"]), ""),
    "window": (lambda: frame().rolling(2), ""),
    "accessor": (lambda: texts("a").str, ""),
    "indexer": (lambda: frame().loc, ""),
    "grouper": (lambda: pd.Grouper(key="a"), ""),
    "extension array": (lambda: Coins([1]), ""),
    "extension dtype": (Money, ""),
    "column of an extension dtype": (lambda: pd.DataFrame({"x": Coins([1])}), ' column "x"'),
    "object in a column": (lambda: pd.DataFrame({"x": objects(1, threading.Lock())}), ' column "x"[1]'),
    "deep in a column": (
        lambda: [pd.DataFrame({"x": objects({"k": threading.Lock()})})],
        '[0] column "x"[0]["k"]',
    ),
    "numbered column": (lambda: pd.DataFrame({7: objects(threading.Lock())}), " column 7[0]"),
    "long name": (lambda: pd.DataFrame({"x" * 50: objects(threading.Lock())}), f' column "{"x" * 39}…"[0]'),
    "index": (lambda: pd.DataFrame(index=objects(threading.Lock())), " index[0]"),
    "columns": (lambda: pd.DataFrame(columns=objects(threading.Lock())), " columns[0]"),
    "attrs": (lock_in_attrs, '.attrs["lock"]'),
    "attribute": (lock_in_attribute, ".called"),
    "series": (lambda: objects(threading.Lock()), "[0]"),
    "series index": (lambda: pd.Series([1], index=objects(threading.Lock())), " index[0]"),
    "generator": (lambda: objects(iter(())), "[0]"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    make, path = REFUSED[name]
    with pytest.raises(Refused) as refused:
        encode(make())
    assert refused.value.path == path


def test_the_message_names_the_column_and_the_way_out():
    from scalable_cas import UnhashableArgument
    from scalable_cas.keys.call import CallKeyer

    def total(table):
        return table

    keyer = CallKeyer(total, arg_types={})
    with pytest.raises(UnhashableArgument, match=r'table column "x"\[0\]'):
        keyer.bind((pd.DataFrame({"x": objects(threading.Lock())}),), {}, None)
    with pytest.raises(UnhashableArgument, match="register_key"):
        keyer.bind((Table({"a": [1]}),), {}, None)


def test_a_subclass_that_is_registered():
    register_key(Table, pd.DataFrame)
    try:
        assert encode(Table({"a": [1]})) == encode(Table({"a": [1]}))
        assert encode(Table({"a": [1]})) != encode(Table({"a": [2]}))
        assert encode(Table({"a": [1]})) != encode(pd.DataFrame({"a": [1]}))
    finally:
        del _registered[Table]


# --- properties --------------------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from([0.0, -0.0, 1.0, 1.5]),
    st.sampled_from(["", "a", "1"]),
)


@st.composite
def columns(draw, rows):
    """(what describes the column independently, its values)."""
    kind = draw(
        st.sampled_from(
            ["int64", "int32", "float64", "bool", "object", "Int64", "string", "category", "M8[s]"]
        )
    )
    if kind == "object":
        items = draw(st.lists(SCALARS, min_size=rows, max_size=rows))
        return (kind, [(type(item).__name__, repr(item)) for item in items]), pd.Series(items, dtype=object)
    if kind in ("string", "category"):
        items = draw(st.lists(st.sampled_from(["", "a", "b", "ab", None]), min_size=rows, max_size=rows))
        if kind == "string":
            return (kind, items), pd.Series(items, dtype=pd.StringDtype("python"))
        known = draw(st.permutations(["", "a", "b", "ab"]))
        return (kind, items, known), pd.Series(pd.Categorical(items, pd.Index(known, dtype=object)))
    if kind == "Int64":
        items = draw(st.lists(st.sampled_from([0, 1, None]), min_size=rows, max_size=rows))
        return (kind, items), pd.Series(items, dtype=kind)
    numbers = draw(st.lists(st.integers(0, 1 if kind == "bool" else 3), min_size=rows, max_size=rows))
    return (kind, numbers), pd.Series(np.array(numbers).astype(kind))


@st.composite
def described(draw):
    rows = draw(st.integers(0, 3))
    found = draw(st.lists(columns(rows), max_size=3))
    names = draw(st.lists(st.sampled_from(["x", "y", 0, "0"]), min_size=len(found), max_size=len(found)))
    made = (
        pd.concat([values for _, values in found], axis=1)
        if found
        else pd.DataFrame(index=pd.RangeIndex(rows))
    )
    made.columns = pd.Index(names, dtype=object)
    return repr((rows, [what for what, _ in found], names)), made


@given(described(), described())
def test_one_key_exactly_for_one_content(first, second):
    assert (encode(first[1]) == encode(second[1])) == (first[0] == second[0])


@given(described())
def test_no_way_of_building_shows(made):
    frame = made[1]
    wanted = encode(frame)
    rebuilt = (
        pd.concat([frame.iloc[:, [place]] for place in range(frame.shape[1])], axis=1)
        if frame.shape[1]
        else frame
    )
    assert encode(frame.copy()) == wanted
    rebuilt.index, rebuilt.columns = (
        frame.index,
        frame.columns,
    )  # which pandas makes anew, and infers their dtype
    assert encode(rebuilt) == wanted
    assert encode(pickle.loads(pickle.dumps(frame))) == wanted
    assert encode(pd.concat([frame, frame]).iloc[: len(frame)].set_axis(frame.index)) == wanted or not len(
        frame
    )
    assert _Deep(Walk([])).run(frame) == wanted


ROWS = np.arange(3_000_000).reshape(-1, 4)


@pytest.mark.parametrize(
    "rows",
    [
        ROWS,
        ROWS[:, 1:],
        ROWS[:, ::2],
        ROWS[::-1],
        ROWS[1::2],
        ROWS.astype(">f4").repeat(2, 0),
        ROWS.astype("M8[s]"),
        ROWS.astype(np.complex128)[:262_145],
        np.ones((2048, 1100))[:, 1:3],
        np.arange(600_000.0).repeat(2).reshape(-1, 2),
    ],
)
def test_columns_that_lie_row_by_row(rows):
    frame = pd.DataFrame(rows, copy=False)
    apart = pd.DataFrame({place: column.copy() for place, column in enumerate(rows.T)})
    apart.columns = frame.columns
    assert encode(frame) == encode(apart) == _Deep(Walk([])).run(frame)
    changed = rows.copy()
    changed[-1, -1] = changed[0, 0]
    assert encode(pd.DataFrame(changed, copy=False)) != encode(frame) or rows[-1, -1] == rows[0, 0]


def test_tables_of_rows_are_hashed_side_by_side_and_other_columns_are_not():
    first, second = np.zeros((300_000, 3)), np.ones((300_000, 3))
    walk = Walk([])
    hash_rows([*first.T, np.ones(300_000), first[:, 1], second[:, 0], *np.zeros((3, 600_000))[:, ::2]], walk)
    assert [id(array) for _, array in walk.memo.values()] == [*walk.memo]
    assert len(walk.memo) == 4  # the first table, and its second column once more
    kept = [*first.T]
    hash_rows(kept, walk)
    assert all(walk.memo[id(column)][0] == encode(column.copy()) for column in kept)


# --- cost --------------------------------------------------------------------------------------------------


def peak(value):
    encode(value)
    tracemalloc.start()
    try:
        encode(value)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def wide(kind):
    numbers = np.arange(4_000_000.0)
    if kind == "columns":
        return pd.DataFrame({name: numbers[i::4].copy() for i, name in enumerate("abcd")})
    if kind == "rows":
        return pd.DataFrame(numbers.reshape(-1, 4), columns=[*"abcd"], copy=False)
    if kind == "every second row":
        return pd.DataFrame(numbers.reshape(-1, 2)).iloc[::2]
    return pd.DataFrame({"m": pd.array(np.arange(4_000_000), dtype="Int64")}).mask(lambda f: f["m"] % 2 == 0)


@pytest.mark.parametrize("kind", ["columns", "rows", "every second row", "masked"])
def test_no_copy_of_a_large_frame(kind):
    value = wide(kind)
    assert peak(value) < 0.6 * 32_000_000


def test_pandas_does_not_load_arrow():
    program = (
        "import sys\n"
        "class NoArrow:\n"
        "    def find_spec(self, name, *more):\n"
        "        if name.partition('.')[0] == 'pyarrow': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, NoArrow())\n"
        "import pandas as pd\nfrom scalable_cas.keys.encode import encode\n"
        "encode(pd.DataFrame({'a': [1], 'b': ['x'], 'c': pd.array(['x', None], dtype='string[python]')[:1]}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
