"""Golden values of numpy, scipy, xarray, torch, attrs and pydantic: expression -> the libraries that it needs, as
alias -> module, or alias -> module>=version where a version brought the type. Only ever added to. Helper functions
here may be used in the expressions.
"""

from __future__ import annotations

import importlib
import sys


def filled(array, *items):
    """An array of objects with these items: numpy would make an axis of a nested list."""
    for i, item in enumerate(items):
        array[i] = item
    return array


def as_chararray(array):
    """By the module that has the class: numpy 2.5 warns of every use of its public name."""
    module = sys.modules.get("numpy.core.defchararray")  # numpy 1
    module = module or importlib.import_module("numpy._core.defchararray")
    return array.view(module.chararray)


def with_metadata(dataset, **attrs):
    dataset.attrs.update(attrs)
    return dataset


_FIELDS = "[('a', '<i4'), ('b', '<f4')]"
_HOLES = "{'names': ['a', 'b'], 'formats': ['i1', '<f8'], 'offsets': [0, 8], 'itemsize': 24}"

_NUMPY = f"""
np.arange(5, dtype='<i8')
np.arange(5, dtype='>i8')
np.arange(5, dtype='i1')
np.arange(5, dtype='u1')
np.arange(5, dtype='<u2')
np.arange(5, dtype='<i4')
np.arange(5, dtype='<u8')
np.arange(5, dtype='<f2')
np.arange(5, dtype='<f4')
np.arange(5, dtype='<f8')
np.arange(6, dtype='<f8').reshape(2, 3)
np.arange(6, dtype='<f8').reshape(3, 2).T
np.arange(6, dtype='<f8').reshape(2, 3)[:, ::2]
np.arange(5, dtype='<c8')
np.arange(5, dtype='<c16')
np.array([True, False])
np.array(['a', 'bc', 'é'], '<U3')
np.array(['a', 'bc'], '>U3')
np.array([b'a', b'bc'], 'S3')
np.zeros(2, 'V3')
np.array([0, 1, -2**63], '<i8').view('<M8[ns]')
np.array(['2024-02-29', 'NaT'], '<M8[D]')
np.array([1, 2], '<m8[s]')
np.array([1, 2], '<m8[25s]')
np.array([1, 2], '<i8').view('<m8')
np.array(1.5)
np.array(1, '<i4')
np.zeros(0, '<f8')
np.zeros((0, 3), '<f8')
np.zeros((3, 0), '<i4')
np.array([0.0, -0.0, np.inf, -np.inf])
np.array([0x7ff8000000000001, 0xfff8000000000000], '<u8').view('<f8')
np.zeros(128, 'u1')
np.zeros(1024, 'u1')
np.zeros(1025, 'u1')
np.arange(100_000, dtype='<i4')
np.arange(3_000_000, dtype='<i4')
np.arange(3_000_000, dtype='<i4').reshape(1000, 3000).T
np.broadcast_to(np.array(7, '<i2'), (5000, 300))
np.array([(1, 2), (3, 4)], {_FIELDS})
np.array([(1, 2), (3, 4)], [('b', '<i4'), ('a', '<f4')])
np.array([(1, 2)], {_HOLES})
np.array([((1, 2), 3)], [('x', np.dtype({_HOLES})), ('y', 'i1')])
np.array([([1, 2], 3)], [('x', '<i2', 2), ('y', 'i1')])
np.array([(1, 2)], [(('Title', 'a'), '<i4'), ('b', 'i1')])
np.array([(1, 2)], np.dtype([('a', 'i1'), ('b', '<i4')], align=True))
np.zeros(2, np.dtype({{'names': ['a', 'b'], 'formats': ['<i4', '<i2'], 'offsets': [0, 2]}}))
np.zeros(2, np.dtype('<i4', metadata={{'unit': 'm'}}))
np.zeros(2, [])
filled(np.empty(3, object), 'a', 'bc', '')
filled(np.empty(3, object), 'a', 'b\\0c', '\\ud800')
filled(np.empty(3, object), 1, [2, {{'k': None}}], np.zeros(2))
filled(np.empty((2, 1), object), ['x'], [2.5])
np.array([('x', 1)], [('name', object), ('n', '<i4')])
np.empty(0, object)
np.arange(4.0).reshape(2, 2).view(np.matrix)
np.array([(1, 2)], {_FIELDS}).view(np.recarray)
as_chararray(np.array(['a', 'b']))
np.ma.MaskedArray([1, 2], [False, True])
np.ma.MaskedArray([1.5, 2.5])
np.ma.MaskedArray([1, 2], [False, False], fill_value=7)
np.ma.MaskedArray(np.arange(5000), np.arange(5000) % 3 == 0, hard_mask=True)
np.ma.MaskedArray(np.array([(1, 2)], {_FIELDS}), [(True, False)])
np.ma.masked
np.float64(1.5)
np.float64('nan')
np.float32(1.5)
np.float16(1.5)
np.int8(-1)
np.int64(1)
np.uint64(2**64 - 1)
np.bool_(True)
np.complex128(1 + 2j)
np.str_('a')
np.bytes_(b'a')
np.datetime64(1, 's')
np.datetime64('NaT', 's')
np.timedelta64(1, 'D')
np.void(b'abc')
np.array([(1, 2)], {_FIELDS})[0]
np.array([(1, 2)], {_FIELDS}).view(np.recarray)[0]
np.dtype('<f8')
np.dtype('S5')
np.dtype({_FIELDS})
np.dtype(('<f8', (2, 3)))
np.dtype('<f8', metadata={{'a': 1}})
np.float64
np.ndarray
np.add
np.mean
np.linalg.norm
np.poly1d([1, 2, 3])
np.polynomial.Polynomial([1, 2, 3], [-1.5, 1.5], [-1.0, 1.0])
{{np.int64(1): np.str_('a')}}
{{np.int8(1), np.float32(2)}}
[np.arange(1000), np.arange(1000)]
""".strip().splitlines()

_STRINGS = """
np.array(['a', 'b' * 50, ''], np.dtypes.StringDType())
np.array(['a', None], np.dtypes.StringDType(na_object=None))
np.array(['a', np.nan], np.dtypes.StringDType(na_object=np.nan, coerce=False))
np.dtypes.StringDType()
""".strip().splitlines()

_CSR = "sparse.{}(([1.0, 2.0, 4.0], ([0, 1, 0], [2, 0, 2])), shape=(2, 3))"
_SPARSE = [
    *(
        _CSR.format(f"{name}_{suffix}")
        for name in ("csr", "csc", "coo", "bsr")
        for suffix in ("matrix", "array")
    ),
    *(f"sparse.{name}([[0, 1.5, 0], [2, 0, 3]])" for name in ("lil_array", "dok_array", "dia_array")),
    *(f"sparse.{name}([[0, 1.5, 0], [2, 0, 3]])" for name in ("lil_matrix", "dok_matrix", "dia_matrix")),
    "sparse.csr_array((3, 4), dtype='<f4')",
]
_XARRAY = """
xr.Variable(('x', 'y'), np.zeros((2, 3)), {'unit': 'm'})
xr.DataArray(np.arange(3.0), dims='x', coords={'x': [1, 2, 3], 'z': 5}, name='t', attrs={'unit': 'm'})
xr.DataArray(np.arange(3.0), dims='x')
xr.Dataset({'a': ('x', np.arange(2.0)), 'b': ('y', [1, 2, 3])}, {'x': [0.5, 1.5]}, {'title': 't'})
xr.Dataset()
with_metadata(xr.Dataset(), a=np.int64(1))
""".strip().splitlines()
_TREE = "xr.DataTree.from_dict({'/': xr.Dataset({'a': 1}), '/b': xr.Dataset({'c': ('x', [1, 2])})})"
_TORCH = """
torch.arange(6, dtype=torch.float32).reshape(2, 3)
torch.arange(6, dtype=torch.int64).reshape(2, 3).T
torch.ones(3, dtype=torch.bfloat16)
torch.tensor([1 + 2j]).conj()
torch.tensor(True)
torch.zeros(0)
torch.zeros(3_000_000)
torch.ones(2, requires_grad=True)
torch.nn.Parameter(torch.ones(2))
torch.float16
torch.device('cuda', 1)
torch.zeros(2, 3).shape
""".strip().splitlines()
_MODELS = {
    "attrs_point(1, 2)": {"attrs": "attrs"},
    "pydantic_grid(rows=2, more=1)": {"pydantic": "pydantic"},
    "pydantic_grid()": {"pydantic": "pydantic"},
}


def attrs_point(x, y):
    """An instance of an attrs class, whose definition is never changed."""
    from .samples_attrs import Point

    return Point(x, y)


def pydantic_grid(**fields):
    """An instance of a model, whose definition is never changed."""
    from .samples_pydantic import Grid

    return Grid(**fields)


_NEEDED = [
    (_NUMPY, {"np": "numpy"}),
    (_STRINGS, {"np": "numpy>=2.0"}),
    (_SPARSE, {"sparse": "scipy.sparse"}),
    (_XARRAY, {"np": "numpy", "xr": "xarray"}),
    ([_TREE], {"np": "numpy", "xr": "xarray>=2024.10"}),
    (_TORCH, {"torch": "torch"}),
]
VALUES: dict[str, dict[str, str]] = {
    **{expression: needed for expressions, needed in _NEEDED for expression in expressions},
    **_MODELS,
}
