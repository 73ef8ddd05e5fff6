"""Arrow, polars, scipy and xarray: what comes back is what went in."""

from __future__ import annotations

import datetime as dt
import decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalable_cas.codecs import arrow_stream, decode, encode
from scalable_cas.codecs.encoded import OUT_OF_BAND
from scalable_cas.errors import NotStorable
from tests.codecs.same_values import identical
from tests.codecs.samples import Plain

LARGE = OUT_OF_BAND // 8


def there_and_back(value, codec, *, trusted=False, buffer=bytes):
    encoded = encode(value)
    assert encoded.codec == codec
    parts = [buffer(memoryview(part).cast("B")) for part in encoded.buffers]
    return decode(encoded.codec, encoded.head, parts, trusted=trusted)


# --- Arrow -------------------------------------------------------------------------------------------------


def arrow_values():
    pa = pytest.importorskip("pyarrow")
    table = pa.table(
        {
            "a": pa.array([1, 2, None], pa.int16()),
            "s": ["x", None, "é"],
            "l": [[1], [], None],
            "d": pa.array(["a", "b", "a"]).dictionary_encode(),
            "m": [{"q": 1}, None, {"q": 2}],
            "t": pa.array([dt.datetime(2020, 1, 1)] * 3, pa.timestamp("us", "Europe/Paris")),
        },
        metadata={"k": "v"},
    )
    twice = pa.concat_tables([table, table])
    batch = table.to_batches()[0]
    return [
        *(table, twice, table.slice(1, 1), table.slice(0, 0), pa.table({}), batch, batch.slice(1)),
        *(table.schema, table["a"], twice["d"], pa.chunked_array([], pa.int8()), pa.array([True, None])),
        *(
            pa.nulls(5),
            pa.array([], pa.string()),
            pa.array(["a"], pa.string_view()),
            pa.array([b"x"], pa.binary(1)),
        ),
        pa.array([decimal.Decimal("1.50")]),
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        pa.array([[1, 2]], pa.list_(pa.int64(), 2)),
        pa.RunEndEncodedArray.from_arrays([2, 3], ["a", "b"]),
        pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]),
        pa.array([1.5] * LARGE * 2),
    ]


@pytest.mark.parametrize("place", range(22))
def test_arrow(place):
    value = arrow_values()[place]
    for buffer in (bytes, bytearray, lambda part: memoryview(bytes(9) + bytes(part))[9:]):
        assert identical(value, there_and_back(value, "arrow", buffer=buffer))


def test_columns_of_arrow_have_buffers_of_their_own():
    pa = pytest.importorskip("pyarrow")
    rng = np.random.default_rng(0)
    shared = pa.array(rng.random(LARGE * 2))
    tables = [pa.table({"shared": shared, "own": rng.random(LARGE * 2)}) for _ in range(2)]
    parts = [{bytes(buffer) for buffer in encode(table).buffers} for table in tables]
    assert len(parts[0]) == 2
    assert len(parts[0] & parts[1]) == 1


def test_arrow_arrays_lie_in_the_buffer_that_was_read():
    pa = pytest.importorskip("pyarrow")
    encoded = encode(pa.array(np.arange(LARGE * 2.0)))
    (memory,) = [bytes(part) for part in encoded.buffers]
    back = decode("arrow", encoded.head, [memory], trusted=True)
    start = pa.py_buffer(memory).address
    assert start <= back.buffers()[1].address < start + len(memory)


def test_columns_of_pandas_that_arrow_holds():
    pa, pd = pytest.importorskip("pyarrow"), pytest.importorskip("pandas")
    for kind in (pa.int64(), pa.string(), pa.list_(pa.int8()), pa.timestamp("ns"), pa.decimal128(5, 2)):
        series = pd.Series(pd.array([None, None], dtype=pd.ArrowDtype(kind)))
        assert identical(series, there_and_back(series, "pandas"))
    frame = pd.DataFrame({"a": pd.array([1, None], dtype="int64[pyarrow]"), "b": [1.5, 2]})
    assert identical(frame, there_and_back(frame, "pandas"))


@given(st.binary(max_size=100))
def test_what_is_no_stream(data):
    try:
        arrow_stream.check(memoryview(data))
    except ValueError:
        return
    assert not data or data[:4] == b"\xff" * 4


# --- polars ------------------------------------------------------------------------------------------------


def test_polars():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(
        {
            "a": [1, None, 3],
            "s": ["x", None, "é"],
            "l": [[1], [], None],
            "m": [{"q": 1}, {"q": None}, None],
            "c": pl.Series(["a", "b", "a"], dtype=pl.Categorical),
            "e": pl.Series(["a", "b", "a"], dtype=pl.Enum(["b", "a", "z"])),
            "t": pl.Series([dt.datetime(2020, 1, 1)] * 3).dt.replace_time_zone("Europe/Paris"),
            "d": [decimal.Decimal("1.5")] * 3,
            "n": pl.Series([None] * 3),
            "r": pl.Series([[1, 2]] * 3, dtype=pl.Array(pl.Int64, 2)),
        }
    )
    for value in (
        frame,
        frame["s"],
        frame["e"],
        frame.clear(),
        frame.slice(1, 1),
        pl.DataFrame(),
        pl.Series("x", [0.5] * LARGE * 2),
    ):
        assert identical(value, there_and_back(value, "polars", trusted=True))
    assert there_and_back({"a": frame}, "data", trusted=True)["a"].equals(frame)
    with pytest.raises(NotStorable):  # polars itself cannot pickle it
        encode(pl.Series([Plain(1)], dtype=pl.Object))
    assert encode(frame.lazy()).codec == "pickle"


# --- scipy -------------------------------------------------------------------------------------------------

FORMATS = ("csr", "csc", "bsr", "coo", "dia", "lil", "dok")


@pytest.mark.parametrize("suffix", ["matrix", "array"])
@pytest.mark.parametrize("kind", FORMATS)
def test_sparse(kind, suffix):
    sparse = pytest.importorskip("scipy.sparse")
    make = getattr(sparse, f"{kind}_{suffix}")
    for dtype in ("f8", "f4", "i2", "?", "c16"):
        dense = (np.random.default_rng(0).random((6, 8)) > 0.7).astype(dtype)
        for value in (make(dense), make((3, 4), dtype=dtype)):
            assert identical(value, there_and_back(value, "scipy"))


@given(st.data())
def test_sparse_as_it_was_left(data):
    sparse = pytest.importorskip("scipy.sparse")
    count = data.draw(st.integers(0, 8))
    rows = data.draw(st.lists(st.integers(0, 4), min_size=count, max_size=count))
    columns = data.draw(st.lists(st.integers(0, 5), min_size=count, max_size=count))
    values = data.draw(st.lists(st.sampled_from([0.0, 1.0, -2.5]), min_size=count, max_size=count))
    coo = sparse.coo_array((values, (np.array(rows, "i4"), np.array(columns, "i4"))), shape=(5, 6))
    assert identical(coo, there_and_back(coo, "scipy"))  # with what occurs twice
    order = np.argsort(rows, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(np.array(rows, int), minlength=5))])
    csr = sparse.csr_array((np.array(values)[order], np.array(columns, int)[order], indptr), shape=(5, 6))
    wide = data.draw(st.sampled_from(["<i4", "<i8"]))
    csr.indices, csr.indptr = csr.indices.astype(wide), csr.indptr.astype(wide)
    assert identical(csr, there_and_back(csr, "scipy"))  # unsorted, with stored zeros


def test_sparse_arrays_of_one_and_three_dimensions():
    sparse = pytest.importorskip("scipy.sparse")
    for shape in ((5,), (2, 3, 4)):
        value = sparse.coo_array(np.ones(shape))
        assert identical(value, there_and_back(value, "scipy"))


def test_sparse_of_a_hundred_gigabytes_in_shape():
    sparse = pytest.importorskip("scipy.sparse")
    value = sparse.csr_array(([1.0], ([99_999], [124_999])), shape=(100_000, 125_000))
    assert identical(value, there_and_back(value, "scipy"))


# --- xarray ------------------------------------------------------------------------------------------------


def datasets():
    xr, pd = pytest.importorskip("xarray"), pytest.importorskip("pandas")
    array = xr.DataArray(
        np.random.default_rng(0).random((4, 3)).astype("f4"),
        dims=("time", "x"),
        coords={
            "time": pd.date_range("2000", periods=4, freq="MS"),
            "x": np.array([1.5, 2, 3], "f4"),
            "label": ("x", ["a", "bb", "c"]),
            "number": 3.0,
        },
        name="temperature",
        attrs={"units": "K", "valid": np.array([0, 1])},
    )
    array.encoding = {"dtype": np.dtype("i2"), "scale_factor": 0.1}
    array.time.attrs["long_name"] = "t"
    data = xr.Dataset({"a": array, "b": ("y", [1, 2, 3])}, attrs={"title": "x", "n": np.float32(2)})
    data.encoding["unlimited_dims"] = {"time"}
    return [
        *(
            array,
            data,
            array.mean(),
            array.isel(time=0),
            array.variable,
            array.coords["x"],
            xr.DataArray([1, 2]),
        ),
        *(xr.Dataset(), data.drop_indexes("x"), data.assign_coords(x=["u", "v", "w"])),
        array.stack(z=("time", "x")),
        array.groupby("time.month").mean(),
        xr.Dataset({"s": ("i", np.array(["a", None], object))}),
        array.assign_coords(time=pd.date_range("2000", periods=4, freq="MS").as_unit("s")),
        xr.Dataset(coords={"y": [1]}, attrs={"k": 1}).assign(t=("time", [1, 2])),
        data.assign_coords(late=("y", [7, 8, 9])).assign(c=("y", [1, 2, 3])),
        array.stack(z=("time", "x")).to_dataset().assign(c=("w", [1])),
    ]


@pytest.mark.parametrize("place", range(17))
def test_xarray(place):
    value = datasets()[place]
    assert identical(value, there_and_back(value, "xarray"))


def test_lazy_data_is_left_to_the_general_codec():
    xr = pytest.importorskip("xarray")
    from xarray.core import indexing

    lazy = indexing.LazilyIndexedArray(indexing.NumpyIndexingAdapter(np.arange(3)))
    assert encode(xr.Variable("x", lazy)).codec == "pickle"
