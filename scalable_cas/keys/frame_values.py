"""pandas: single values (Timestamp, Interval, NA, …), offsets and dtypes."""

from __future__ import annotations

from .nodes import Refused, Viewed, typed_node
from .tags import encode_str, typed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .nodes import Decompose, Leaf, Node, Walk
    from .registry import Handlers


def value_handlers(pd: Any) -> Handlers:
    """The scalars, offsets and dtypes of pandas."""
    leaves: dict[type, Leaf] = {
        type(single): lambda _, name=name: typed("singleton", (encode_str(name),))  # type: ignore[misc]
        for single, name in ((pd.NA, "pandas.NA"), (pd.NaT, "pandas.NaT"))
    }
    nodes: dict[type, Decompose] = {
        pd.Timestamp: lambda value, _: typed_node(
            "pandas.Timestamp", (value.unit, _number(value), value.fold, zone_of(value.tzinfo))
        ),
        pd.Timedelta: lambda value, _: typed_node("pandas.Timedelta", (value.unit, _number(value))),
        pd.Period: lambda value, _: typed_node("pandas.Period", (value.freq, value.ordinal)),
        pd.Interval: lambda value, _: typed_node("pandas.Interval", (value.closed, value.left, value.right)),
    }
    for kind in vars(pd.offsets).values():
        if isinstance(kind, type) and issubclass(kind, pd.offsets.BaseOffset):
            nodes[kind] = _of_offset
    nodes |= _dtype_nodes(pd)
    return leaves, nodes


def _number(value: Any) -> int:
    """A Timestamp or Timedelta as the number of its units since 1970 (``.value`` would be in ns, or too
    large).
    """
    return int(value.asm8.view("i8"))


def zone_of(zone: Any) -> object:
    """A time zone by its name: pandas 2 makes zones with pytz and pandas 3 with zoneinfo, of one dtype.

    All kinds of UTC are one, as they are to pandas. Other zones (``datetime.timezone``, or a user's) stand
    for themselves.
    """
    if zone is None:
        return None
    place = type(zone).__module__.partition(".")[0]
    if place == "zoneinfo":
        name = zone.key
    elif place == "pytz":
        name = zone.zone
        if name is None:  # pytz.FixedOffset
            return zone.utcoffset(None)
    elif place == "datetime":
        from datetime import timezone

        # timezone(timedelta(0), "X") equals UTC and calls itself X, so equality is not enough
        if type(zone) is not timezone or zone != timezone.utc or zone.tzname(None) != "UTC":  # noqa: UP017 (type of UTC)
            return zone
        name = "UTC"
    else:
        return zone
    if name is None:
        raise Refused("a time zone that was read from a file has no name")
    return "UTC" if name in ("UTC", "Etc/UTC") else name


def _of_offset(value: Any, _: Walk) -> Node:
    # kwds holds what the class adds to n and normalize; a calendar shows as its week and its holidays
    more = {
        name: _calendar(item) if type(item).__name__ == "busdaycalendar" else item
        for name, item in value.kwds.items()
    }
    return typed_node("pandas.offset", (type(value).__name__, value.n, value.normalize, more))


def _calendar(calendar: Any) -> tuple[list[bool], list[int]]:
    return calendar.weekmask.tolist(), calendar.holidays.view("i8").tolist()


# --- dtypes ------------------------------------------------------------------------------------------------


def _dtype_nodes(pd: Any) -> dict[type, Decompose]:
    nodes: dict[type, Decompose] = {
        pd.CategoricalDtype: _of_categories,
        pd.DatetimeTZDtype: lambda value, _: typed_node(
            "pandas.dtype", ("datetime", value.unit, zone_of(value.tz))
        ),
        pd.PeriodDtype: lambda value, _: typed_node("pandas.dtype", ("period", value.freq)),
        pd.IntervalDtype: lambda value, _: typed_node(
            "pandas.dtype", ("interval", value.subtype, value.closed)
        ),
        pd.SparseDtype: lambda value, _: typed_node(
            "pandas.dtype", ("sparse", value.subtype, fill_of(value))
        ),
        pd.StringDtype: lambda value, _: typed_node("pandas.dtype", (dtype_name(value), _storage(value))),
        pd.ArrowDtype: lambda value, _: typed_node("pandas.dtype", ("arrow", value.pyarrow_dtype)),
    }
    for kind in (*_integers(pd), pd.Float32Dtype, pd.Float64Dtype, pd.BooleanDtype):
        nodes[kind] = lambda value, _: typed_node("pandas.dtype", (dtype_name(value),))
    return nodes


def _integers(pd: Any) -> list[type]:
    return [getattr(pd, f"{sign}Int{bits}Dtype") for sign in ("", "U") for bits in (8, 16, 32, 64)]


def dtype_name(dtype: Any) -> str:
    """``Int64``, ``boolean``, …; of texts ``str`` if the missing value is NaN and ``string`` if it is NA.

    pandas 2 calls the first ``string[pyarrow_numpy]``.
    """
    if type(dtype).__name__ == "StringDtype":
        return "str" if type(dtype.na_value) is float else "string"
    return str(dtype.name)


def _storage(dtype: Any) -> str:
    return "pyarrow" if dtype.storage == "pyarrow_numpy" else dtype.storage


def fill_of(dtype: Any) -> object:
    """The fill value of a sparse dtype, as Python's own number: ``0`` and ``np.int64(0)`` are one there."""
    fill = dtype.fill_value
    return fill.item() if type(fill).__module__ == "numpy" and hasattr(fill, "item") else fill


def _of_categories(value: Any, _: Walk) -> Node:
    from .frames import plain_index

    categories = value.categories
    known = None if categories is None else Viewed(categories, plain_index)
    return typed_node("pandas.dtype", ("category", known, value.ordered))
