"""What is kept of an argument so that a difference can be explained later: small plain values as they are, of
everything else its type and a short digest, and one level into dicts, lists, tuples and dataclasses.

An outline explains, it identifies nothing: the key alone does that. So it may leave out, and is bounded: the
record of a call must stay small, and making it costs every miss. It is plain data for msgpack, one of

    [0, value]                              None, bool, int64, float, or a short printable str
    [1, type, text, digest]                 anything else; text says more where that is safe (a date, a shape)
    [2, type, size, [[label, outline], …]]  a container; no child is a container; no children if it is large

(docs/reference/format-v1.md, section 5).
"""

from __future__ import annotations

from blake3 import blake3

from .encode import encode
from .nodes import Fields, Refused, Structural, Walk
from .registry import NODES
from .tags import typed_prefix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Outline = list[Any]

PLAIN, OTHER, CONTAINER = range(3)

#: A longer str is rather data than a setting; 64 characters hold a name, the end of a path, the id of a run.
SHORT = 64
#: Children that are kept. A configuration has tens; a list of more is data, of which the digest says enough.
MOST_CHILDREN = 64
#: Bytes of a digest: two outlines are compared, not a million.
DIGEST_BYTES = 8

_INT64 = 1 << 63
# Types of small values whose own str() is C code that says all of them.
_TEXTS = {
    ("datetime", "datetime"),
    ("datetime", "date"),
    ("datetime", "time"),
    ("datetime", "timedelta"),
    ("uuid", "UUID"),
    ("decimal", "Decimal"),
    ("fractions", "Fraction"),
    ("pathlib", "PosixPath"),
    ("pathlib", "PurePosixPath"),
    ("pathlib._local", "PosixPath"),
}
# Libraries whose types have `dtype`, `shape` or `schema` that cost nothing and run no code of the user's.
_BY_FIELDS = frozenset((typed_prefix("dataclass"), typed_prefix("attrs")))
_SHAPED = ("numpy", "pandas", "polars", "pyarrow", "torch", "xarray", "scipy")


def outline(value: object, walk: Walk | None = None) -> Outline:
    """The outline of an argument that has an encoding. ``walk``: that of the encoding, which remembers the
    large parts.
    """
    if type(value) is Structural:
        value = value.value
    kind = type(value)
    if _is_plain(value, kind):
        return [PLAIN, value]
    children = _children_of(value, kind)
    if children is None:
        # no digest: the digest of the whole argument stands beside it in the record
        return [OTHER, kind.__name__, _text(value, kind), b""]
    size, pairs = children
    if size > MOST_CHILDREN:
        pairs = ()
    return [CONTAINER, kind.__name__, size, [[label, _child(child, walk)] for label, child in pairs]]


def _child(value: object, walk: Walk | None) -> Outline:
    kind = type(value)
    if _is_plain(value, kind):
        return [PLAIN, value]
    return [OTHER, kind.__name__, _text(value, kind), b"" if _is_path(kind) else _digest(value, walk)]


def _digest(value: object, walk: Walk | None) -> bytes:
    try:
        return blake3(encode(value, walk)).digest(DIGEST_BYTES)
    except Refused:  # part of an argument that was declared ObjectType
        return b""


def _is_path(kind: type) -> bool:
    """Whether encoding a value would read a file or folder."""
    return kind.__module__ == f"{__package__}.wrappers" and hasattr(kind, "__fspath__")


def _is_plain(value: object, kind: type) -> bool:
    if type(value) is str:
        return len(value) <= SHORT and value.isprintable()  # a lone surrogate is not, and has no UTF-8
    if type(value) is int:
        return -_INT64 <= value < _INT64
    return value is None or kind is float or kind is bool


def _text(value: Any, kind: type) -> str:
    if (kind.__module__, kind.__qualname__) in _TEXTS:
        text = str(value)
    elif kind.__module__.partition(".")[0] in _SHAPED:
        text = " ".join(str(getattr(value, name)) for name in ("dtype", "shape") if hasattr(value, name))
    elif kind is str:
        text = f"{len(value)} characters"
    elif kind is bytes or kind is bytearray:
        text = f"{len(value)} bytes"
    elif _is_path(kind):
        text = value.__fspath__()
    else:
        return ""
    return text if len(text) <= SHORT and text.isprintable() else ascii(text[-SHORT:])[1:-1][-SHORT:]


def _children_of(value: Any, kind: type) -> tuple[int, Iterable[tuple[str, object]]] | None:
    """How many children a container has, and those with the names that a path gives them; None of a leaf."""
    if kind is dict:
        return len(value), [(_key_label(key), child) for key, child in [*value.items()][: MOST_CHILDREN + 1]]
    if kind is list or kind is tuple:
        return len(value), [(f"[{i}]", child) for i, child in enumerate(value[: MOST_CHILDREN + 1])]
    fields = _fields_of(value, kind)
    return None if fields is None else (len(fields), [(f".{name}", item) for name, item in fields.items()])


def _fields_of(value: Any, kind: type) -> Fields | None:
    """The fields of a dataclass or attrs instance, if it is encoded by them."""
    decompose = NODES.get(kind)
    if decompose is None or not (hasattr(kind, "__dataclass_fields__") or hasattr(kind, "__attrs_attrs__")):
        return None
    prefix, _, parts = decompose(value, Walk([]))
    return next((part for part in parts if type(part) is Fields), None) if prefix in _BY_FIELDS else None


def _key_label(key: object) -> str:
    if type(key) is str:
        shown = key if len(key) <= SHORT and key.isprintable() else ascii(key[:SHORT])[1:-1]
        return f'["{shown}"]'
    return f"[{key}]" if type(key) is int and -_INT64 <= key < _INT64 else f"[{type(key).__name__}]"
