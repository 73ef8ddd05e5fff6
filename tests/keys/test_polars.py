"""polars: pairs that are two keys, pairs that are one, and what is refused."""

from __future__ import annotations

import copy
import datetime as dt
import decimal
import pickle
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalable_cas.keys.encode import _Deep, encode
from scalable_cas.keys.nodes import Refused, Walk

from .pair_tables import pair_tests

pl = pytest.importorskip("polars")
pytest.importorskip("pyarrow")

ENUM = pl.Enum(["a", "b"])
NOON = dt.datetime(2024, 1, 1, 12)


def series(*items, name="x", dtype=None):
    return pl.Series(name, [*items], dtype=dtype)


def chunked(*parts, dtype=None):
    made = series(*parts[0], dtype=dtype)
    for part in parts[1:]:
        made.append(series(*part, dtype=dtype))
    assert made.n_chunks() == len(parts)
    return made


def categories(*items):
    return pl.Series("x", [*items], dtype=pl.Categorical)


def objects(*items):
    return pl.Series("x", [*items], dtype=pl.Object)


DIFFERENT = {
    "value": (series(1), series(2)),
    "name": (series(1), series(1, name="y")),
    "dtype": (series(1), series(1, dtype=pl.Int32)),
    "int and float": (series(1), series(1.0)),
    "null and 0": (series(1, None), series(1, 0)),
    "null and NaN": (series(1.0, None), series(1.0, float("nan"))),
    "null place": (series(1, None, 1), series(1, 1, None)),
    "null dtype": (series(None), series(None, dtype=pl.Int64)),
    "bool": (series(True), series(False)),
    "text boundary": (series("ab", "c"), series("a", "bc")),
    "text null and empty": (series("a", None), series("a", "")),
    "text longer than a view": (series("x" * 40 + "a"), series("x" * 40 + "b")),
    "text and bytes": (series("a"), series(b"a")),
    "date and datetime": (series(NOON.date()), series(NOON)),
    "datetime unit": (series(NOON, dtype=pl.Datetime("us")), series(NOON, dtype=pl.Datetime("ms"))),
    "datetime zone": (
        series(NOON, dtype=pl.Datetime("us")),
        series(NOON, dtype=pl.Datetime("us")).dt.replace_time_zone("UTC"),
    ),
    "time": (series(dt.time(1)), series(dt.time(2))),
    "duration unit": (
        series(dt.timedelta(1), dtype=pl.Duration("us")),
        series(dt.timedelta(1), dtype=pl.Duration("ms")),
    ),
    "decimal scale": (
        series(decimal.Decimal(1), dtype=pl.Decimal(10, 1)),
        series(decimal.Decimal(1), dtype=pl.Decimal(10, 2)),
    ),
    "list boundary": (series([1], [2, 3]), series([1, 2], [3])),
    "list null and empty": (series([1], None), series([1], [])),
    "list and array": (series([1, 2]), series([1, 2], dtype=pl.Array(pl.Int64, 2))),
    "array shape": (
        series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int64, (2, 2))),
        series([[1, 2, 3, 4]], dtype=pl.Array(pl.Int64, (1, 4))),
    ),
    "struct names": (series({"a": 1}), series({"b": 1})),
    "struct value": (series({"a": 1}), series({"a": 2})),
    "category and text": (categories("a"), series("a")),
    "category value": (categories("a", "b"), categories("a", "a")),
    "category null": (categories("a", None), categories("a", "a")),
    "enum categories": (series("a", dtype=ENUM), series("a", dtype=pl.Enum(["a", "c"]))),
    "enum order": (series("a", dtype=ENUM), series("a", dtype=pl.Enum(["b", "a"]))),
    "enum value": (series("a", dtype=ENUM), series("b", dtype=ENUM)),
    "list of enum": (series(["a"], dtype=pl.List(ENUM)), series(["b"], dtype=pl.List(ENUM))),
    "struct of enum": (
        series({"e": "a"}, dtype=pl.Struct({"e": ENUM})),
        series({"e": "b"}, dtype=pl.Struct({"e": ENUM})),
    ),
    "object 1 and 1.0": (objects(1), objects(1.0)),
    "object 1 and True": (objects(1), objects(True)),
    "object and int": (objects(1), series(1)),
    "frame value": (pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]})),
    "frame name": (pl.DataFrame({"a": [1]}), pl.DataFrame({"b": [1]})),
    "frame order": (pl.DataFrame({"a": [1], "b": [1]}), pl.DataFrame({"b": [1], "a": [1]})),
    "frame and series": (pl.DataFrame({"x": [1]}), series(1)),
    "frame of no columns": (pl.DataFrame(), pl.DataFrame({"a": []})),
    "frame, one cell of 200,000": (
        pl.DataFrame({"a": range(200_000)}),
        pl.DataFrame({"a": [*range(199_999), 0]}),
    ),
    "dtype value": (pl.Int64(), pl.Int32()),
    "dtype and its class": (pl.Int64(), pl.Int64),
    "dtype zone": (pl.Datetime("us", "UTC"), pl.Datetime("us")),
    "dtype list": (pl.List(pl.Int64), pl.List(pl.Int32)),
    "dtype struct": (pl.Struct({"a": pl.Int8}), pl.Struct({"b": pl.Int8})),
    "field": (pl.Field("a", pl.Int8), pl.Field("a", pl.Int16)),
}

MANY = [None if i % 5 == 0 else f"text {i}" for i in range(70_000)]

EQUAL = {
    "chunks": (chunked([1, None], [3]), series(1, None, 3)),
    "chunks of text": (chunked(MANY[:9], MANY[9:]), series(*MANY)),
    "chunks of lists": (chunked([[1], None], [[2, 3]]), series([1], None, [2, 3])),
    "sliced": (series(1, 2, 3).slice(1), series(2, 3)),
    "sliced bool": (series(*[True, None, False] * 9).slice(5), series(*([True, None, False] * 9)[5:])),
    "sliced text": (series(*MANY).slice(69_000), series(*MANY[69_000:])),
    "filtered": (series(1, 2, 3).filter(series(True, False, True)), series(1, 3)),
    "categories in another order": (
        categories("b", "a", "b").slice(1, 1),
        categories("a"),
    ),
    "dtype said by class or instance": (pl.List(pl.Int64), pl.List(pl.Int64())),
    "dtype of a struct": (pl.Struct({"a": pl.Time}), pl.Struct({"a": pl.Time()})),
    "dtype of a series": (series([dt.time(1)]).dtype, pl.List(pl.Time)),
    "enum sliced": (series("a", "b", dtype=ENUM).slice(1), series("b", dtype=ENUM)),
    "objects": (objects(1, "a", None), objects(1, "a", None)),
    "frame chunks": (
        pl.concat([pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]})], rechunk=False),
        pl.DataFrame({"a": [1, 2]}),
    ),
    "frame cloned": (pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [1]}).clone()),
    "sorted flag": (series(1, 2).sort(), series(1, 2)),
    "null or nothing under it": (
        series(1, 2).replace_strict([1], [None], default=pl.lit(2), return_dtype=pl.Int64),
        series(None, 2),
    ),
}

SAMPLES = {
    **{name: pair[1] for name, pair in DIFFERENT.items()},
    **{f"{name}, one": pair[0] for name, pair in EQUAL.items()},
}


test_two_keys, test_one_key = pair_tests(DIFFERENT, EQUAL)


@pytest.mark.parametrize("name", SAMPLES)
def test_copies_and_both_engines(name):
    value = SAMPLES[name]
    encoded = encode(value)
    assert _Deep(Walk([])).run(value) == encoded
    assert encode({"deep": [value, value]}) == _Deep(Walk([])).run({"deep": [value, value]})
    assert encode(copy.deepcopy(value)) == encoded
    if "object" not in name:  # polars cannot pickle them
        assert encode(pickle.loads(pickle.dumps(value))) == encoded


def test_categories_do_not_depend_on_what_the_process_has_seen():
    program = (
        "import sys, polars as pl; from scalable_cas.keys.encode import encode\n"
        "if sys.argv[1:]: kept = pl.Series(['z', 'b', 'q', 'a'], dtype=pl.Categorical)\n"
        "print(encode(pl.Series('x', ['a', 'b', None, 'a'], dtype=pl.Categorical)).hex())\n"
        "print(encode(pl.Series('x', [['a', 'b']], dtype=pl.List(pl.Enum(['a', 'b'])))).hex())\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program, *more], capture_output=True, text=True, timeout=120, check=True
        ).stdout
        for more in ([], ["first"])
    }
    assert len(found) == 1


REFUSED = {
    "plan": (lambda: pl.DataFrame({"a": [1]}).lazy(), "", "collect"),
    "expression": (lambda: pl.col("a"), "", "expression"),
    "groups": (lambda: pl.DataFrame({"a": [1]}).group_by("a"), "", "type"),
    "subclass": (
        lambda: type("Table", (pl.DataFrame,), {"__module__": __name__})({"a": [1]}),
        "",
        "register_key",
    ),
    "object in a column": (
        lambda: pl.DataFrame({"x": objects(1, threading.Lock())}),
        ' column "x"[1]',
        "holds no value",
    ),
}


if hasattr(pl, "Int128"):
    REFUSED["Int128"] = (lambda: series(1, dtype=pl.Int128), "", "Int128")


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    make, path, reason = REFUSED[name]
    with pytest.raises(Refused, match=reason) as refused:
        encode(make())
    assert refused.value.path == path


ITEMS = {
    "Int64": st.integers(-2, 2),
    "Float32": st.sampled_from([0.0, 1.5]),
    "Boolean": st.booleans(),
    "String": st.sampled_from(["", "a", "ab", "é" * 20]),
    "Binary": st.sampled_from([b"", b"a"]),
    "Date": st.sampled_from([dt.date(2024, 1, 1), dt.date(1970, 1, 1)]),
    "Categorical": st.sampled_from(["", "a", "b"]),
}


@given(st.data())
def test_one_key_exactly_for_one_content(data):
    name = data.draw(st.sampled_from([*ITEMS]))
    items = st.one_of(st.none(), ITEMS[name])
    nested = data.draw(st.booleans()) and name != "Categorical"
    rows = st.lists(st.one_of(st.none(), st.lists(items, max_size=2)) if nested else items, max_size=5)
    first = data.draw(rows)
    second = data.draw(st.one_of(st.just(first), rows))
    dtype = pl.List(getattr(pl, name)) if nested else getattr(pl, name)
    left, right = pl.Series("x", first, dtype=dtype), pl.Series("x", second, dtype=dtype)
    assert (encode(left) == encode(right)) == (first == second)
    cut = data.draw(st.integers(0, len(first)))
    if name != "Categorical":
        assert encode(pl.concat([left[:cut], left[cut:]], rechunk=False)) == encode(left)


def test_an_attribute_that_was_added_counts():
    def named(make, name):
        value = make()
        value.called = name
        return value

    for make in (lambda: pl.DataFrame({"a": [1]}), lambda: pl.Series([1])):
        assert len({encode(value) for value in (make(), named(make, 1), named(make, 2), named(make, 1))}) == 3
