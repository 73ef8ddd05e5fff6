"""Golden values of pandas, Arrow and polars: expression -> the libraries that it needs, as alias -> module. Only
ever added to. Helper functions here may be used in the expressions.

Every dtype is said, the one of column names too: pandas 2 and 3 infer different ones.
"""

from __future__ import annotations


def frame(pd, columns, **more):
    """A frame whose column names are objects in an index of dtype object."""
    made = pd.DataFrame(dict(enumerate(columns.values())), **more)
    made.columns = pd.Index([*columns], dtype=object)
    return made


_PANDAS = {"pd": "pandas", "np": "numpy"}
_ARROW = {"pa": "pyarrow"}
_POLARS = {"pl": "polars", "pa": "pyarrow"}  # whose data goes through Arrow
_BOTH = {**_PANDAS, **_ARROW}

_WITH_PANDAS = [
    "frame(pd, {})",
    "frame(pd, {'a': np.array([1, 2], 'i8'), 'b': np.array([0.5, -0.0])})",
    "frame(pd, {'b': np.array([0.5, -0.0]), 'a': np.array([1, 2], 'i8')})",
    "frame(pd, {'a': np.array([1, 2], 'i4')}, index=pd.Index([7, 8], dtype='int64', name='n'))",
    "frame(pd, {'a': np.arange(2000.0), 'b': np.arange(2000.0)})",
    "frame(pd, {'a': np.arange(400.0)})",
    "pd.DataFrame(np.arange(6.0).reshape(2, 3), columns=pd.Index([1, 1, 2], dtype='int64'))",
    "frame(pd, {'a': pd.Series([1, None, pd.NA, pd.NaT, np.nan, 'x', 1.0, True], dtype=object)})",
    "frame(pd, {'a': pd.Series(['x', 'yz'], dtype=object)})",
    "frame(pd, {'a': pd.array(['x', None, '\\u00e9'], dtype=pd.StringDtype('python'))})",
    "frame(pd, {'a': pd.array([1, None], dtype='Int64'), 'b': pd.array([True, None], dtype='boolean')})",
    "frame(pd, {'a': np.array([True, False]), 'b': np.array([1, 2], 'M8[s]'), 'c': np.array([1, 2], 'm8[ns]')})",
    "frame(pd, {'a': [1]}).set_flags(allows_duplicate_labels=False)",
    "pd.Series(np.array([1, 2], 'i8'))",
    "pd.Series(np.array([1, 2], 'i8'), name='n')",
    "pd.Series(np.array([1 + 2j]))",
    "pd.Series([], dtype='float64')",
    "pd.Series(np.array([1, 2], 'u1'), index=pd.Index(['a', 'b'], dtype=object))",
    "pd.Series(pd.array([1.5, None], dtype='Float64'))",
    "pd.Series(pd.Categorical([1, None, 2], categories=pd.Index([2, 1], dtype='int64')))",
    "pd.Series(pd.arrays.SparseArray(np.array([0, 0, 3]), fill_value=0))",
    "pd.Series(pd.DatetimeIndex(np.array(['2024-03-31T01:00', 'NaT'], 'M8[ns]'), tz='Europe/Paris'))",
    "pd.Series(pd.PeriodIndex(['2024-01', 'NaT'], freq='M'))",
    "pd.Series(pd.IntervalIndex.from_breaks(np.array([0, 1, 3]), closed='left'))",
    "pd.RangeIndex(5)",
    "pd.RangeIndex(1, 10, 3, name='n')",
    "pd.Index([1, 2], dtype='int64')",
    "pd.Index([1.0, 2.0], dtype='float64', name=('a', 1))",
    "pd.Index(['a', None, 1], dtype=object)",
    "pd.DatetimeIndex(np.array(['2024-01-01', '2024-01-02'], 'M8[ns]'))",
    "pd.DatetimeIndex(np.array(['2024-01-01', '2024-01-02'], 'M8[s]'), freq='D')",
    "pd.DatetimeIndex(np.array(['2024-01-01'], 'M8[ns]'), tz='UTC')",
    "pd.TimedeltaIndex(np.array([1, 2], 'm8[ns]'))",
    "pd.PeriodIndex(['2024-01-01'], freq='D')",
    "pd.CategoricalIndex(pd.Categorical.from_codes([0, -1], pd.Index(['a'], dtype=object), ordered=True))",
    "pd.MultiIndex.from_arrays([np.array([1, 1, 2]), pd.Index(['a', 'b', 'a'], dtype=object)], names=['x', None])",
    "pd.MultiIndex([pd.Index([9, 8, 7], dtype='int64')], [[2, -1, 0]])",
    "pd.array([1, None, 3], dtype='UInt8')",
    "pd.array(['x' * 600, 'y' * 600], dtype=pd.StringDtype('python'))",
    "pd.array([], dtype=pd.StringDtype('python'))",
    "pd.Categorical.from_codes([0], pd.Index([1.5], dtype='float64'))",
    "pd.arrays.IntervalArray.from_tuples([(0.0, 1.0)], closed='both')",
    "pd.NA",
    "pd.NaT",
    "pd.Timestamp(1, unit='s').as_unit('ns')",
    "pd.Timestamp('2024-01-01').as_unit('s')",
    "pd.Timestamp('2024-01-01').as_unit('us').tz_localize('Europe/Paris')",
    "pd.Timedelta(1, unit='s').as_unit('ms')",
    "pd.Period('2024-01', 'M')",
    "pd.Interval(0, 1.5, closed='neither')",
    "pd.offsets.MonthEnd(2)",
    "pd.offsets.Week(weekday=3)",
    "pd.DateOffset(months=1, day=3)",
    "pd.offsets.BusinessHour(start='10:00')",
    "pd.Int64Dtype()",
    "pd.CategoricalDtype(pd.Index(['a', 'b'], dtype=object), ordered=True)",
    "pd.DatetimeTZDtype('ns', 'UTC')",
    "pd.IntervalDtype('int64', 'right')",
    "pd.PeriodDtype('D')",
    "pd.SparseDtype('float64', 0.0)",
    "pd.StringDtype('python')",
]
_WITH_BOTH = [
    "frame(pd, {'a': pd.array(['z', None], dtype=pd.StringDtype('pyarrow'))})",
    "pd.Series([1, None], dtype=pd.ArrowDtype(pa.int32()))",
    "pd.Series([[1], None], dtype=pd.ArrowDtype(pa.list_(pa.int8())))",
    "pd.ArrowDtype(pa.string())",
]
_WITH_ARROW = [
    "pa.array([1, None, 3])",
    "pa.array([1.5, -0.0], type=pa.float32())",
    "pa.array([True, None, False])",
    "pa.array(['a', None, '\\u00e9'])",
    "pa.array(['a', None], type=pa.large_string())",
    "pa.array([b'ab', None], type=pa.binary(2))",
    "pa.array([[1], None, [], [2, None]])",
    "pa.array([[1, 2], None], type=pa.list_(pa.int16(), 2))",
    "pa.array([{'a': 1, 'b': 'x'}, None, {'a': None, 'b': 'y'}])",
    "pa.array([[('k', 1)], None], type=pa.map_(pa.string(), pa.int8()))",
    "pa.array(['a', 'b', None, 'a']).dictionary_encode()",
    "pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(['a', 'b'])])",
    "pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array([5, None]))",
    "pa.array([dt.date(2024, 1, 1)])",
    "pa.array([0], type=pa.timestamp('us', 'UTC'))",
    "pa.array([decimal.Decimal('1.50'), None])",
    "pa.nulls(3)",
    "pa.array([*map(str, range(500))])",
    "pa.chunked_array([[1, 2], [None]])",
    "pa.scalar('x')",
    "pa.scalar(None, pa.int8())",
    "pa.schema([pa.field('a', pa.int8(), nullable=False, metadata={'k': 'v'})], metadata={'m': 'n'})",
    "pa.struct([('a', pa.int8()), ('b', pa.list_(pa.string()))])",
    "pa.py_buffer(b'abc')",
    "pa.table({'a': [1, None], 'b': ['x', 'y']})",
    "pa.record_batch({'a': [1, None]})",
]
_WITH_POLARS = [
    "pl.Series('n', [1, None, 3])",
    "pl.Series('n', ['a', None, 'x' * 30])",
    "pl.Series('n', [[1], None, []])",
    "pl.Series('n', [{'a': 1, 'b': 'x'}])",
    "pl.Series('n', ['a', 'b'], dtype=pl.Enum(['b', 'a']))",
    "pl.Series('n', [dt.datetime(2024, 1, 1)], dtype=pl.Datetime('us')).dt.replace_time_zone('Europe/Paris')",
    "pl.Series('n', [1, 'a', None], dtype=pl.Object)",
    "pl.Series('n', [decimal.Decimal('1.5')], dtype=pl.Decimal(10, 2))",
    "pl.Series('n', [[1, 2]], dtype=pl.Array(pl.Int8, 2))",
    "pl.DataFrame({'a': [1, 2], 'b': [True, None]})",
    "pl.DataFrame()",
    "pl.Datetime('ms', 'UTC')",
]

VALUES: dict[str, dict[str, str]] = {
    **dict.fromkeys(_WITH_PANDAS, _PANDAS),
    **dict.fromkeys(_WITH_BOTH, _BOTH),
    **dict.fromkeys(_WITH_ARROW, _ARROW),
    **dict.fromkeys(_WITH_POLARS, _POLARS),
}
