"""polars: frames, series and dtypes. The content goes through Arrow, chunk by chunk and without copying.

Nothing is taken from Arrow's description of a type: what polars knows more (an Enum, a Decimal, an Object) is
in its own dtype. Categories have numbers that depend on what else the process has read, so they are turned
into their texts.
"""

from __future__ import annotations

from .arrow_data import data_of
from .nodes import Labelled, Refused, added_to, column_label, typed_node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .nodes import Decompose, Node, Walk
    from .registry import Handlers

# The dtypes that say all by their names, and the parameters of the others.
_SIMPLE = (
    *("Boolean", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"),
    *("Float16", "Float32", "Float64", "String", "Binary", "Date", "Time", "Null", "Object"),
)
_PARAMETERS = {
    "Datetime": ("time_unit", "time_zone"),
    "Duration": ("time_unit",),
    "Decimal": ("precision", "scale"),
    "List": ("inner",),
    "Array": ("shape", "inner"),
}


def polars_handlers() -> Handlers:
    """DataFrame, Series and dtypes. Plans, expressions and groups are refused."""
    import polars as pl

    nodes: dict[type, Decompose] = {pl.DataFrame: _of_frame, pl.Series: _of_series}
    for name in (*_SIMPLE, *_PARAMETERS, "Struct", "Enum", "Categorical", "Field"):
        kind = getattr(pl, name, None)
        if kind is not None:
            nodes[kind] = _of_dtype
    nodes[pl.Field] = lambda value, _: typed_node("polars.Field", (value.name, _instance(value.dtype)))
    return {}, nodes


def _of_frame(frame: Any, _: Walk) -> Node:
    series = frame.get_columns()
    parts = Labelled([frame.height, *series, *added_to(frame)])
    parts.label = lambda place: column_label(series[place - 1].name) if 0 < place <= len(series) else ""
    return typed_node("polars.DataFrame", parts)


def _of_series(series: Any, _: Walk) -> Node:
    dtype = _instance(series.dtype)
    return typed_node("polars.Series", (series.name, dtype, *_content(series, dtype), *added_to(series)))


def _instance(dtype: Any) -> Any:
    """An instance: for polars ``Int64`` is as good as ``Int64()``, and it gives now one and now the other."""
    return dtype() if isinstance(dtype, type) else dtype


def _content(series: Any, dtype: Any) -> tuple[Any, ...]:
    kind = type(dtype).__name__
    if kind == "Object":
        return (series.to_list(),)
    if kind == "Categorical" and _by_number(dtype):
        # the numbers order the rows of `sort`: the used categories in that order tell all of it
        return _content(series.unique().drop_nulls().sort().cast(_text()), _text()) + _texts(series, _text())
    plain = _with_texts(dtype)
    return _texts(series, plain) if plain is not dtype else (_arrow(series),)


def _texts(series: Any, dtype: Any) -> tuple[Any, ...]:
    return (_arrow(series.cast(dtype)),)


def _arrow(series: Any) -> Any:
    try:
        arrays = [chunk.to_arrow() for chunk in series.get_chunks()]
    except ModuleNotFoundError as error:
        raise Refused("polars data needs pyarrow; install it") from error
    return data_of(arrays[0].type, arrays)


def _text() -> Any:
    import polars as pl

    return pl.String()


def _by_number(dtype: Any) -> bool:
    return getattr(dtype, "ordering", None) == "physical"


def _with_texts(dtype: Any) -> Any:
    """The dtype with texts in place of categories, at any depth; the dtype itself if it has none."""
    kind = type(dtype).__name__
    if kind in ("Enum", "Categorical"):
        return _text()
    if kind == "List":
        inner = _nested(dtype.inner)
        return dtype if inner is dtype.inner else type(dtype)(inner)
    if kind == "Array":
        import polars as pl

        base, shape = dtype.inner, dtype.shape
        while type(base) is pl.Array:
            base = base.inner
        inner = _nested(base)
        return dtype if inner is base else pl.Array(inner, shape)
    if kind == "Struct":
        inner = [_nested(field.dtype) for field in dtype.fields]
        if all(new is field.dtype for new, field in zip(inner, dtype.fields, strict=True)):
            return dtype
        return type(dtype)({field.name: new for new, field in zip(inner, dtype.fields, strict=True)})
    if kind not in _SIMPLE and kind not in _PARAMETERS:
        raise Refused(f"the polars dtype {kind} has no encoding; cast the column to another")
    return dtype


def _nested(named: Any) -> Any:
    dtype = _instance(named)
    if type(dtype).__name__ == "Categorical" and _by_number(dtype):
        raise Refused(
            "categories that are ordered by their numbers inside another dtype; cast them to String"
        )
    if type(dtype).__name__ == "Object":
        raise Refused("Object inside another dtype has no encoding")
    new = _with_texts(dtype)
    return named if new is dtype else new


def _of_dtype(dtype: Any, _: Walk) -> Node:
    kind = type(dtype).__name__
    parameters = _PARAMETERS.get(kind, ())
    parts = [_instance(getattr(dtype, name)) for name in parameters]
    if kind == "Struct":
        parts = [*dtype.fields]
    elif kind == "Enum":
        parts = [dtype.categories.to_list()]
    elif kind == "Categorical":
        parts = _categories(dtype)
    return typed_node("polars.dtype", (kind, *parts))


def _categories(dtype: Any) -> list[Any]:
    """How the categories of a Categorical are ordered and, since polars 1.32, which set of them it shares."""
    parts: list[Any] = ["physical" if _by_number(dtype) else "lexical"]
    shared = getattr(dtype, "categories", None)
    if shared is not None and not shared.is_global():
        parts.append((shared.name(), shared.namespace(), shared.physical()))
    return parts
