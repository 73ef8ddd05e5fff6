"""numpy's element types in stored values: the text that numpy has for each of its own, a list for the others.

``np.dtype()`` understands a language of its own ("f8, (2)i4", "O", names of registered classes), so a text
from foreign bytes is read only if it is one of the exact forms that are written here.
"""

from __future__ import annotations

import re

import numpy as np

from scalable_cas.codecs.lowering import mapping
from scalable_cas.codecs.tags import NotPlain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.codecs.lowering import Lowering

_UNIT = r"(?:\[[1-9]?[0-9]{0,9}(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?"
_TEXT = re.compile(r"\|b1|[<>|][iu][1248]|[<>][f][248]|[<>]c(?:8|16)|[<>|][SUV][0-9]{1,10}|[<>][mM]8" + _UNIT)

_LONG = ("LongDoubleDType", "CLongDoubleDType")
#: Classes of dtypes whose `str` says all, if they have neither fields nor metadata.
_BY_TEXT = frozenset(
    getattr(np.dtypes, name)
    for name in dir(np.dtypes)
    if name.endswith("DType") and name not in (*_LONG, "StringDType", "ObjectDType")
)
_LONG_CLASSES = tuple(getattr(np.dtypes, name) for name in _LONG)
STRING: Any = getattr(np.dtypes, "StringDType", None)  # since numpy 2.0
_ABSENT = object()


def lower_dtype(state: Lowering, dtype: Any) -> Any:
    """Return the description of a dtype without objects: a text, or a list.

    Raises:
        NotPlain: it holds objects, or is of another library.
    """
    if dtype.metadata:
        if type(dtype) not in _BY_TEXT or dtype.names is not None or dtype.subdtype is not None:
            raise NotPlain("metadata of a dtype with fields")
        return ["metadata", _bare(state, np.dtype(dtype.str)), mapping(state, dict(dtype.metadata))]
    return _bare(state, dtype)


def _bare(state: Lowering, dtype: Any) -> Any:
    kind = type(dtype)
    if kind is STRING:
        missing = getattr(dtype, "na_object", _ABSENT)
        return ["string", dtype.coerce, *([] if missing is _ABSENT else state.each((missing,)))]
    if kind in _LONG_CLASSES:
        return ["long", dtype.str, int(np.finfo(dtype).nmant)]
    if kind not in _BY_TEXT:
        raise NotPlain(f"a dtype of class {kind.__qualname__}")
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return ["array", lower_dtype(state, base), list(shape)]
    if dtype.names is not None:
        return _lower_fields(state, dtype)
    if dtype.type is not kind.type or _TEXT.fullmatch(dtype.str) is None:
        raise NotPlain(f"a dtype {dtype.str} with a meaning of its own")
    return dtype.str


def _lower_fields(state: Lowering, dtype: Any) -> list[Any]:
    if dtype.type not in (np.void, np.record):
        raise NotPlain("fields that are laid over another type")
    fields = []
    for name in dtype.names:
        field, offset, *title = dtype.fields[name]
        if title and type(title[0]) is not str:
            raise NotPlain("a field whose title is no text")
        fields.append([name, *(title or [None]), offset, lower_dtype(state, field)])
    return ["fields", dtype.type is np.record, dtype.isalignedstruct, dtype.itemsize, fields]


def raise_dtype(described: Any) -> Any:
    """Return the dtype of a description.

    Raises:
        ValueError, TypeError, LookupError: it is none, or one that this machine or this numpy does not have.
    """
    if type(described) is str:
        if _TEXT.fullmatch(described) is None:
            raise ValueError(f"no dtype: {described[:40]!r}")
        dtype = np.dtype(described)
        if dtype.str != described:
            raise ValueError(f"not how {dtype.str} is written")
        return dtype
    if type(described) is not list or not described or type(described[0]) is not str:
        raise TypeError("the description of a dtype is missing")
    return _RAISE[described[0]](*described[1:])


def _raise_string(coerce: Any, *missing: Any) -> Any:
    if type(coerce) is not bool or len(missing) > 1:
        raise TypeError("not the parts of a string dtype")
    if STRING is None:
        raise ValueError("strings of numpy 2 are not known to this numpy")
    return STRING(coerce=coerce, **({"na_object": missing[0]} if missing else {}))


def _raise_long(text: Any, bits: Any) -> Any:
    dtype = {np.dtype(kind).str: np.dtype(kind) for kind in (np.longdouble, np.clongdouble)}.get(text)
    if dtype is None or type(bits) is not int or bits != np.finfo(dtype).nmant:
        raise ValueError("long doubles of another kind of machine")
    return dtype


def _raise_subarray(base: Any, shape: Any) -> Any:
    if type(shape) is not list or {int}.union(map(type, shape)) != {int} or not shape:
        raise TypeError("not the shape of a subarray")
    return np.dtype((raise_dtype(base), tuple(shape)))


def _raise_fields(record: Any, aligned: Any, size: Any, fields: Any) -> Any:
    if type(record) is not bool or type(aligned) is not bool or type(size) is not int or size < 0:
        raise TypeError("not the parts of a dtype with fields")
    names, titles, offsets, formats = zip(*fields, strict=True) if fields else ((), (), (), ())
    if not {str}.issuperset(map(type, names)) or not {str, type(None)}.issuperset(map(type, titles)):
        raise TypeError("names and titles of fields are text")
    if not {int}.issuperset(map(type, offsets)) or any(offset < 0 for offset in offsets):
        raise TypeError("fields without places")
    layout = {
        "names": list(names),
        "formats": [raise_dtype(described) for described in formats],
        "offsets": list(offsets),
        "titles": list(titles),
        "itemsize": size,
    }
    dtype = np.dtype(layout, align=aligned)
    if dtype.itemsize != size or dtype.isalignedstruct is not aligned:
        raise ValueError("fields that are not laid out as they say")
    return np.dtype((np.record, dtype)) if record else dtype


def _raise_metadata(bare: Any, metadata: Any) -> Any:
    if type(metadata) is not dict or type(bare) is not str:
        raise TypeError("metadata of a dtype is a dict")
    return np.dtype(raise_dtype(bare), metadata=metadata)


_RAISE: dict[str, Any] = {
    "string": _raise_string,
    "long": _raise_long,
    "array": _raise_subarray,
    "fields": _raise_fields,
    "metadata": _raise_metadata,
}


def is_packed(dtype: Any) -> bool:
    """Whether each byte of an element is content. Padding is not, nor is that of a long double."""
    if type(dtype) in _LONG_CLASSES:
        return False
    if dtype.subdtype is not None:
        return is_packed(dtype.subdtype[0])
    if dtype.names is None:
        return True
    end = 0
    for offset, name in sorted((dtype.fields[name][1], name) for name in dtype.names):
        field = dtype.fields[name][0]
        if offset != end or not is_packed(field):
            return False
        end += field.itemsize
    return bool(end == dtype.itemsize)


def has_bools(dtype: Any) -> bool:
    """Whether elements hold truth values, whose bytes are 0 or 1 and nothing else."""
    if dtype.subdtype is not None:
        return has_bools(dtype.subdtype[0])
    if dtype.names is not None:
        return any(has_bools(dtype.fields[name][0]) for name in dtype.names)
    return bool(dtype.kind == "b")
