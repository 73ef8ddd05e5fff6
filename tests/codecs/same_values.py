"""Whether two values of libraries cannot be told apart: type, dtype, order, bits, index, zone, attrs."""

from __future__ import annotations

import sys

import numpy as np

from tests.codecs.samples import same


def identical(left, right):
    kind = type(left)
    if kind is not type(right):
        return False
    library = kind.__module__.partition(".")[0]
    if library in ("pandas", "polars", "pyarrow", "scipy", "torch", "xarray"):
        return globals()[f"_{library}"](left, right)
    if library == "numpy":
        return _numpy(left, right)
    if kind is dict:
        return identical(list(left), list(right)) and identical(list(left.values()), list(right.values()))
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(identical, left, right))
    if hasattr(left, "__dataclass_fields__"):
        return identical(vars(left), vars(right))
    return same(left, right)


def _numpy(left, right):
    if left is np.ma.masked:
        return True
    if isinstance(left, np.dtype):
        return (
            left == right
            and left.type is right.type
            and left.metadata == right.metadata
            and left.isalignedstruct == right.isalignedstruct
        )
    if isinstance(left, np.ma.MaskedArray):
        return (
            _numpy(np.asarray(left.data), np.asarray(right.data))
            and identical(left._mask, right._mask)
            and identical(np.asarray(left.fill_value), np.asarray(right.fill_value))
            and left.hardmask == right.hardmask
        )
    if isinstance(left, np.ndarray):
        flags = left.flags
        contiguous = flags.c_contiguous or flags.f_contiguous
        return (
            _numpy(left.dtype, right.dtype)
            and left.shape == right.shape
            and right.flags.writeable
            and right.flags.aligned
            and (not contiguous or flags.f_contiguous == right.flags.f_contiguous)
            and _elements(left, right)
        )
    return left.dtype == right.dtype and _elements(np.asarray(left), np.asarray(right))


def _elements(left, right):
    if left.dtype.hasobject:
        return all(map(identical, left.ravel().tolist(), right.ravel().tolist()))
    if left.dtype.names is not None:
        return all(_elements(left[name], right[name]) for name in left.dtype.names)
    if left.dtype.char in "gG":
        return left.tolist() == right.tolist()
    return left.tobytes() == right.tobytes()


def _pandas(left, right):
    import pandas as pd

    if isinstance(left, pd.MultiIndex):
        return (
            identical(list(left.names), list(right.names))
            and all(map(_pandas, left.levels, right.levels))
            and all(
                (a.dtype, a.tobytes()) == (b.dtype, b.tobytes())
                for a, b in zip(left.codes, right.codes, strict=True)
            )
        )
    if isinstance(left, pd.RangeIndex):
        return identical(
            (left.name, left.start, left.stop, left.step), (right.name, right.start, right.stop, right.step)
        )
    if isinstance(left, pd.Index):
        freq = getattr(left, "freq", None) == getattr(right, "freq", None)
        return freq and identical(left.name, right.name) and _array(left.array, right.array)
    if isinstance(left, (pd.DataFrame, pd.Series)):
        notes = identical(left.attrs, right.attrs) and identical(
            left.flags.allows_duplicate_labels, right.flags.allows_duplicate_labels
        )
        if not notes or not identical(left.index, right.index):
            return False
        if isinstance(left, pd.Series):
            return identical(left.name, right.name) and _array(left.array, right.array)
        return identical(left.columns, right.columns) and all(
            _array(left.iloc[:, at].array, right.iloc[:, at].array) for at in range(left.shape[1])
        )
    if isinstance(left, pd.api.extensions.ExtensionArray):
        return _array(left, right)
    if left is pd.NA or left is pd.NaT:
        return left is right
    if isinstance(left, pd.Timestamp):
        return (left.unit, left.fold, str(left.tz), type(left.tz)) == (
            right.unit,
            right.fold,
            str(right.tz),
            type(right.tz),
        ) and left == right
    return repr(left) == repr(right) and getattr(left, "unit", None) == getattr(right, "unit", None)


def _array(left, right):
    if type(left) is not type(right) or left.dtype != right.dtype or len(left) != len(right):
        return False
    kind = type(left).__name__
    if kind == "NumpyExtensionArray":
        a, b = left.to_numpy(), right.to_numpy()
        return a.dtype == b.dtype and _elements(a, b)
    if kind == "Categorical":
        return identical(left.categories, right.categories) and identical(
            left.codes.tobytes(), right.codes.tobytes()
        )
    if kind == "SparseArray":
        return left.kind == right.kind and _elements(np.asarray(left), np.asarray(right))
    if kind in ("DatetimeArray", "TimedeltaArray", "PeriodArray"):
        return left.asi8.tobytes() == right.asi8.tobytes() and repr(left.dtype) == repr(right.dtype)
    if kind == "IntervalArray":
        return left.closed == right.closed and repr(left) == repr(right)
    return identical(left.astype(object).tolist(), right.astype(object).tolist())


def _pyarrow(left, right):
    checked = {"check_metadata": True} if hasattr(left, "schema") or hasattr(left, "names") else {}
    return left.equals(right, **checked) and getattr(left, "num_chunks", 0) == getattr(right, "num_chunks", 0)


def _polars(left, right):
    return (
        left.equals(right, null_equal=True)
        and getattr(left, "schema", left.name if hasattr(left, "name") else 0)
        == getattr(right, "schema", right.name if hasattr(right, "name") else 0)
        and getattr(left, "dtype", None) == getattr(right, "dtype", None)
    )


def _scipy(left, right):
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    if left.format == "dok":
        return list(left.items()) == list(right.items()) and identical(
            list(left.values()), list(right.values())
        )
    if left.format == "lil":
        return identical(left.rows.tolist(), right.rows.tolist()) and identical(
            left.data.tolist(), right.data.tolist()
        )
    names = ("data", "indices", "indptr", "offsets")
    return all(identical(getattr(left, name, None), getattr(right, name, None)) for name in names) and (
        left.format != "coo" or all(map(identical, left.coords, right.coords))
    )


def _xarray(left, right):
    if not left.identical(right) or not identical(left.encoding, right.encoding):
        return False
    if not hasattr(left, "coords"):
        return True
    if hasattr(left, "data_vars") and (
        list(left.variables) != list(right.variables) or list(left.sizes) != list(right.sizes)
    ):
        return False
    return (
        list(left.coords) == list(right.coords)
        and list(left.xindexes) == list(right.xindexes)
        and all(map(identical, left.indexes.values(), right.indexes.values()))
        and all(
            left.coords[name].dtype == right.coords[name].dtype
            and type(left.coords[name].variable) is type(right.coords[name].variable)
            and identical(left.coords[name].encoding, right.coords[name].encoding)
            for name in left.coords
        )
    )


def _torch(left, right):
    torch = sys.modules["torch"]
    if left.is_sparse or left.is_quantized:
        whole = left.to_dense() if left.is_sparse else left
        return left.layout == right.layout and torch.equal(
            whole, right.to_dense() if left.is_sparse else right
        )

    def content(value):
        value = value.detach().resolve_conj().resolve_neg().contiguous()
        return bytes(value.reshape(-1).view(torch.uint8).tolist())  # also of what torch cannot compare

    return (
        (left.dtype, left.shape, left.requires_grad) == (right.dtype, right.shape, right.requires_grad)
    ) and content(left) == content(right)
