"""Descriptors of numpy's dtypes: what tells two element types apart, and whether their bytes are content.

``dtype.str`` is enough for the types that numpy brings along, and for no others: a dtype of another library
(``bfloat16``) has the text of a void, and ``==`` of dtypes ignores metadata, titles, the class of the records
and fields that were laid over a number. So the exact class of the dtype decides, and everything else is
written out.
"""

from __future__ import annotations

import numpy as np

from .nodes import DONE, Refused, Viewed, typed_node
from .refusals import full_name
from .tags import encode_str

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .nodes import Node, Walk

_REFUSED = ("LongDoubleDType", "CLongDoubleDType")
_NAMES = [name for name in dir(np.dtypes) if name.endswith("DType") and name not in _REFUSED]
CLASSES: tuple[type, ...] = tuple(
    getattr(np.dtypes, name) for name in dir(np.dtypes) if name.endswith("DType")
)
_STRING: Any = getattr(np.dtypes, "StringDType", None)  # since numpy 2.0
# Classes of dtypes whose `str` says all, if they have neither fields nor metadata.
_BY_TEXT = frozenset(getattr(np.dtypes, name) for name in _NAMES) - {_STRING}
_ABSENT = object()


def plain_text(dtype: Any) -> str | None:
    """The text of a dtype that it says all of (``<f8``); None if more must be said, or it is refused."""
    kind: Any = type(dtype)
    if kind in _BY_TEXT and dtype.type is kind.type and dtype.names is None and dtype.subdtype is None:
        return None if dtype.metadata else dtype.str  # empty after unpickling, in numpy 1
    return None


def described(dtype: Any, _: Walk) -> Node:
    """The descriptor of any dtype: a str, or a typed object (docs/reference/key-v1.md, section 8).

    Raises:
        Refused: the bytes of this dtype are not the same everywhere, or their meaning is not known.
    """
    if not dtype.metadata:
        return _bare(dtype)
    inner = Viewed(dtype, lambda of, _: _bare(of))
    return typed_node("dtype metadata", (inner, dict(dtype.metadata)))


def _bare(dtype: Any) -> Node:
    kind: Any = type(dtype)
    if kind is _STRING:
        missing = getattr(dtype, "na_object", _ABSENT)
        return typed_node("StringDType", (dtype.coerce, () if missing is _ABSENT else (missing,)))
    if kind not in _BY_TEXT:
        raise Refused(_reason(dtype))
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return typed_node("dtype array", (Viewed(base, described), shape))
    if dtype.names is not None:
        return _structured(dtype)
    if dtype.type is not kind.type:
        raise Refused(_reason(dtype))
    return encode_str(dtype.str), DONE, ()


def _structured(dtype: Any) -> Node:
    if dtype.type not in (np.void, np.record) or dtype.fields is None or dtype.names is None:
        raise Refused(f"a dtype of {full_name(dtype.type)} with fields laid over it has two meanings")
    fields = []
    for name in dtype.names:
        field, offset, *title = dtype.fields[name]
        fields.append((name, (*title,), offset, Viewed(field, described)))
    is_record = dtype.type is np.record
    return typed_node("dtype fields", (is_record, dtype.isalignedstruct, dtype.itemsize, fields))


def _reason(dtype: Any) -> str:
    if type(dtype).__name__ in _REFUSED:
        return "arrays of longdouble: their width and padding differ between machines; convert to float64"
    return f"numpy dtype of {full_name(dtype.type)} is none of numpy's own; convert it to one that is"


def packed(dtype: Any) -> bool:
    """Whether each byte of an element is content.

    Not so if it has padding, whose bytes are whatever was in memory, if fields overlap, and if it holds
    references (objects, the text of a StringDType), whose bytes are addresses.
    """
    if dtype.hasobject:
        return False
    if dtype.subdtype is not None:
        return packed(dtype.subdtype[0])
    if dtype.names is None or dtype.fields is None:
        return True
    end = 0
    places = sorted((dtype.fields[name][1], dtype.fields[name][0].itemsize, name) for name in dtype.names)
    for offset, size, name in places:
        if offset != end or not packed(dtype.fields[name][0]):
            return False
        end += size
    return bool(end == dtype.itemsize)
