"""Writes `fixtures/values-libraries-v1.json` from the values below: run once for each value that is added. What
is in the file stays as it is; a value whose bytes have changed is an error.

    python -m tests.codecs.make_library_vectors
"""

from __future__ import annotations

import json
from pathlib import Path

from scalable_cas.codecs import encode

FILE = Path(__file__).resolve().parents[2] / "fixtures" / "values-libraries-v1.json"
ABOUT = (
    "Vectors of docs/reference/values-v1.md. `value` is a Python expression over np, pd, pa, sp, xr and dt; heads "
    "and buffers are hex, a buffer of over 100 bytes is its length, item size and BLAKE3. `bytes` says who decides on the bytes: "
    "`us`, or the library, so that another version of it may write others for the same value."
)

FIELDS = "np.dtype([('a', '<i2'), ('b', '>f8')], align=True)"
NUMPY = {
    "whole numbers": "np.arange(3, dtype='<i4')",
    "Fortran order": "np.array([[1.0, 2.0], [3.0, 4.0]], order='F')",
    "every second": "np.arange(6, dtype='u1')[::2]",
    "no dimension": "np.array(2.5)",
    "no element": "np.zeros((0, 2), '<f4')",
    "truth values": "np.array([True, False])",
    "big-endian": "np.array([1, 2], '>i2')",
    "complex": "np.array([1 + 2j], '<c8')",
    "texts": "np.array(['a', 'b\\u00e9'])",
    "bytes": "np.array([b'a', b'bc'])",
    "times": "np.array(['2020-01-01', 'NaT'], '<M8[D]')",
    "durations of 25 seconds": "np.array([1], '<m8[25s]')",
    "fields with padding": f"np.array([(1, 2.0)], {FIELDS})",
    "records": "np.rec.array([(1, 'x')], dtype=[('n', '<i8'), ('s', '<U1')])",
    "fields within fields": "np.zeros(1, [('p', [('x', '<f4'), ('y', '<f4', (2,))])])",
    "metadata": "np.zeros(1, np.dtype('<f8', metadata={'unit': 'K'}))",
    "strings of any length": "np.array(['a', 'long text'], np.dtypes.StringDType())",
    "strings with missing ones": "np.array(['a', None], np.dtypes.StringDType(na_object=None, coerce=False))",
    "objects": "np.array([1, 'a', None, float('nan'), 2.5, 2**80, b'x', True, (1, 2)], object)",
    "texts as objects": "np.array([['a', 'bc']], object)",
    "matrix": "np.matrix([[1.0]])",
    "masked": "np.ma.array([1, 2], mask=[False, True], dtype='<i8', fill_value=9)",
    "without a mask": "np.ma.array([1.0], hard_mask=True)",
    "the masked constant": "np.ma.masked",
    "scalar": "np.float64(1.5)",
    "truth": "np.bool_(True)",
    "time": "np.datetime64('2020-01-01T12', 's')",
    "text": "np.str_('a\\x00')",
    "bytes scalar": "np.bytes_(b'a\\x00')",
    "record": f"np.array([(1, 2.0)], {FIELDS})[0]",
    "dtype": "np.dtype('<f4')",
    "in plain data": "{'a': [np.arange(2, dtype='<i8')], 'b': (1, np.int8(2))}",
    "large, twice": "[np.arange(20000, dtype='<f4'), np.zeros(70000, 'u1')]",
}
INDEX = "pd.Index(['a', 'b'], dtype=object)"
PANDAS = {
    "frame": f"pd.DataFrame(np.array([[1.0, 2.0], [3.0, 4.0]]), columns={INDEX})",
    "frame without anything": "pd.DataFrame(index=pd.RangeIndex(0), columns=pd.RangeIndex(0))",
    "series": "pd.Series(np.array([1, 2], '<i8'), index=pd.Index(np.array([5, 6], '<i8')), name='s')",
    "attrs": "(lambda s: (s.attrs.update(unit='K'), s)[1])(pd.Series(np.array([1.0])))",
    "range": "pd.RangeIndex(0, 10, 3, name='r')",
    "index of texts": "pd.Index(['a', None], dtype=object, name=('x', 1))",
    "index of times": "pd.date_range('2020-01-01', periods=2, freq='D', name='t').as_unit('ns')",
    "index of two levels": "pd.MultiIndex([pd.Index(['a'], dtype=object), pd.Index(np.array([1, 2], '<i8'))], [[0, 0], [1, 0]], names=['x', None])",
    "index of durations": "pd.TimedeltaIndex(np.array([1, 2], '<m8[s]'))",
    "times with a zone": "pd.Series(pd.DatetimeIndex(np.array([0], '<M8[s]'), tz=dt.timezone.utc))",
    "times of a place": "pd.DatetimeIndex(np.array([0], '<M8[ns]')).tz_localize(zoneinfo.ZoneInfo('Europe/Paris')).array",
    "categories": "pd.Categorical.from_codes([0, -1], pd.Index(['x', 'y'], dtype=object), ordered=True)",
    "periods": "pd.PeriodIndex.from_ordinals([600], freq='M') if hasattr(pd.PeriodIndex, 'from_ordinals') else pd.PeriodIndex(['2020-01'], freq='M')",
    "intervals": "pd.IntervalIndex.from_breaks(np.array([0.0, 1.0]))",
    "sparse": "pd.arrays.SparseArray(np.array([0.0, 1.0]), fill_value=0.0)",
    "masked ints": "pd.array([1, None], dtype='Int64')",
    "masked floats": "pd.array([1.5, None], dtype='Float32')",
    "masked truth": "pd.array([True, None], dtype='boolean')",
    "texts": "pd.array(['a', None, 'b\\u00e9'], dtype=pd.StringDtype('python'))",
    "numpy's": "pd.Series(np.array([1.0])).array",
    "Timestamp": "pd.Timestamp(np.datetime64(5, 'ns'), tz=dt.timezone.utc)",
    "Timedelta": "pd.Timedelta(np.timedelta64(5, 's'))",
    "Period": "pd.Period('2020-01', freq='M')",
    "Interval": "pd.Interval(0, 1.5, closed='both')",
    "NA and NaT": "[pd.NA, pd.NaT]",
}
SCIPY = {
    **{
        name: f"sp.{name}_array((np.array([1.0, 2.0]), (np.array([0, 1], '<i4'), np.array([1, 0], '<i4'))), shape=(2, 3))"
        for name in ("coo", "csr", "csc")
    },
    "bsr": "sp.bsr_matrix((np.ones((1, 1, 2)), np.array([0], '<i4'), np.array([0, 1], '<i4')), shape=(1, 2))",
    "dia": "sp.dia_matrix((np.array([[1.0, 2.0]]), np.array([0], '<i4')), shape=(2, 2))",
    "lil": "sp.lil_matrix(np.array([[0.0, 1.0], [2.0, 3.0]]))",
    "dok": "sp.dok_matrix(np.array([[0.0, 1.0], [2.0, 3.0]]))",
}
XARRAY = {
    "array": "xr.DataArray(np.array([1.0, 2.0]), {'x': np.array([5, 6], '<i8')}, ('x',), 'a', {'unit': 'K'})",
    "dataset": "xr.Dataset({'a': ('x', np.array([1.0]))}, {'x': np.array([2.5]), 's': 3.0, 'l': ('x', np.array([b'q']))}, {'t': 'y'})",
    "variable": "xr.Variable(('y',), np.array([1], '<i8'), encoding={'dtype': np.dtype('<i2')})",
    "coordinate": "xr.DataArray(np.array([1.0]), {'x': np.array([2.5])}, ('x',)).coords['x']",
}
ARROW = {
    "table": "pa.table({'a': pa.chunked_array([[1], [2, None]]), 's': ['x', None, '\\u00e9']}, metadata={'k': 'v'})",
    "batch": "pa.record_batch({'a': [1.5]})",
    "array": "pa.array([[1], []])",
    "chunked array": "pa.chunked_array([['a'], ['b']])",
    "schema": "pa.schema([pa.field('a', pa.int8(), nullable=False)])",
    "column": "pd.Series(pd.array([1, None], dtype='int64[pyarrow]'))",
    "texts": "pd.array(['a', None, 'b'], dtype=pd.StringDtype('pyarrow'))",
}
GROUPS = {"numpy": NUMPY, "pandas": PANDAS, "scipy": SCIPY, "xarray": XARRAY, "pyarrow": ARROW}


def namespace():
    """What the expressions use; a library that is not installed is missing."""
    import datetime as dt
    import importlib
    import zoneinfo

    found = {"dt": dt, "zoneinfo": zoneinfo}
    names = {"np": "numpy", "pd": "pandas", "pa": "pyarrow", "sp": "scipy.sparse", "xr": "xarray"}
    for short, name in names.items():
        try:
            found[short] = importlib.import_module(name)
        except ImportError:
            pass
    return found


def shown(buffer):
    from blake3 import blake3

    view = memoryview(buffer)
    data = view.tobytes()
    if len(data) <= 100:
        return data.hex()
    return {"length": len(data), "itemsize": view.itemsize, "blake3": blake3(data).hexdigest()}


def vector(group, name, expression, names):
    encoded = encode(eval(expression, dict(names)))
    return {
        "name": f"{group}: {name}",
        "value": expression,
        "bytes": "library" if group == "pyarrow" and name != "texts" else "us",
        "codec": encoded.codec,
        "head": encoded.head.hex(),
        "buffers": [shown(buffer) for buffer in encoded.buffers],
    }


def main():
    known = json.loads(FILE.read_text())["values"] if FILE.exists() else []
    by_name = {item["name"]: item for item in known}
    names = namespace()
    for group, values in GROUPS.items():
        for name, expression in values.items():
            made = vector(group, name, expression, names)
            before = by_name.setdefault(made["name"], made)
            if made["bytes"] == "us" and before != made:
                raise SystemExit(f"{made['name']}: its bytes have changed")
    FILE.write_text(
        json.dumps({"format": "values-v1", "about": ABOUT, "values": [*by_name.values()]}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
