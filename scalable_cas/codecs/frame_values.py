"""Single values of pandas (Timestamp, Interval, NA, …), time zones and offsets, down and up again."""

from __future__ import annotations

import datetime as dt
import sys

import numpy as np
import pandas as pd

from scalable_cas.codecs.arrays import exactly
from scalable_cas.codecs.tags import NotPlain
from scalable_cas.codecs.times import zone_key, zone_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.codecs.lifting import Reader
    from scalable_cas.codecs.lowering import Lowering
    from scalable_cas.codecs.tags import Lower, RaiseNode

UNITS = ("s", "ms", "us", "ns")
_CLOSED = ("left", "right", "both", "neither")
_LONGEST = 64  # characters of an offset, such as "QS-OCT" or "2h30min"


def lowering() -> dict[type, Lower]:
    """The way down by exact type."""
    return {
        type(pd.NA): lambda state, _: state.library("pandas.NA"),
        type(pd.NaT): lambda state, _: state.library("pandas.NaT"),
        pd.Timestamp: lambda state, value: state.library(
            "pandas.Timestamp", _number(value), value.unit, lower_zone(state, value.tzinfo), value.fold
        ),
        pd.Timedelta: lambda state, value: state.library("pandas.Timedelta", _number(value), value.unit),
        pd.Period: lambda state, value: state.library(
            "pandas.Period", int(value.ordinal), lower_offset(value.freq)
        ),
        pd.Interval: lambda state, value: state.library(
            "pandas.Interval", *state.each((value.left, value.right)), value.closed
        ),
    }


def _number(value: Any) -> int:
    """A Timestamp or Timedelta as the number of its units since 1970 (``.value`` would be in ns, or too
    large).
    """
    return int(value.asm8.view("i8"))


# --- zones and offsets --------------------------------------------------------------------------------------


def lower_zone(state: Lowering, zone: Any) -> Any:
    """Return what stands for a time zone: nil, a zone of the standard library, or a list for one of pytz.

    Raises:
        NotPlain: it is of another library.
    """
    if zone is None:
        return None
    module = type(zone).__module__.partition(".")[0]
    if module == "pytz":
        name = zone.zone
        if name is None:  # pytz.FixedOffset
            return ["pytz", int(zone.utcoffset(None).total_seconds()) // 60]
        if sys.modules["pytz"].timezone(name).zone != name:
            raise NotPlain("a time zone that its name does not find")
        return ["pytz", name]
    if module not in ("zoneinfo", "datetime"):
        raise NotPlain(f"a time zone of {module}")
    return state.lower(zone)


def raise_zone(zone: Any) -> Any:
    """Return the time zone. One of pytz is the zoneinfo of its name where pytz is not installed: pandas 2
    makes the one and pandas 3 the other of a dtype that has the same name.
    """
    if type(zone) is not list:
        zoneinfo = sys.modules.get("zoneinfo")
        return exactly(zone, type(None), dt.timezone, *([zoneinfo.ZoneInfo] if zoneinfo else []))
    mark, name = zone
    if exactly(mark, str) != "pytz":
        raise ValueError("a time zone of another library")
    try:
        import pytz
    except ImportError:
        if exactly(name, str, int) == "UTC":
            return dt.UTC
        return dt.timezone(dt.timedelta(minutes=name)) if type(name) is int else zone_of(name)
    return pytz.FixedOffset(name) if type(exactly(name, str, int)) is int else pytz.timezone(zone_key(name))


def lower_offset(freq: Any) -> str | None:
    """Return the text of an offset (the frequency of an index).

    Raises:
        NotPlain: its text does not give it back.
    """
    if freq is None:
        return None
    text = freq.freqstr
    if len(text) > _LONGEST:
        raise NotPlain("an offset with a long text")
    again = pd.tseries.frequencies.to_offset(text)
    if type(again) is not type(freq) or again != freq:
        raise NotPlain("an offset that its text does not give back")
    return str(text)


def raise_offset(text: Any) -> Any:
    """Return the offset of a text.

    Raises:
        ValueError, TypeError: there is none.
    """
    if len(exactly(text, str)) > _LONGEST:
        raise ValueError("not the text of an offset")
    return pd.tseries.frequencies.to_offset(text)


# --- up -----------------------------------------------------------------------------------------------------


def _moment(number: Any, unit: Any, kind: str) -> Any:
    if exactly(unit, str) not in UNITS:
        raise ValueError("a time in units that pandas does not have")
    return np.array(exactly(number, int), "i8").view(f"{kind}8[{unit}]")[()]


def _raise_timestamp(_reader: Reader, items: list[Any]) -> Any:
    number, unit, zone, fold = items
    stamp = pd.Timestamp(_moment(number, unit, "M"))
    zone = raise_zone(zone)
    if zone is not None:
        stamp = stamp.tz_localize("UTC").tz_convert(zone)
    if stamp is pd.NaT or stamp.unit != unit or exactly(fold, int) not in (0, 1):
        raise ValueError("not a Timestamp")
    return stamp if stamp.fold == fold else stamp.replace(fold=fold)


def _raise_timedelta(_reader: Reader, items: list[Any]) -> Any:
    number, unit = items
    delta = pd.Timedelta(_moment(number, unit, "m"))
    if delta is pd.NaT or delta.unit != unit:
        raise ValueError("not a Timedelta")
    return delta


def _raise_period(_reader: Reader, items: list[Any]) -> Any:
    ordinal, freq = items
    period = pd.Period(ordinal=exactly(ordinal, int), freq=raise_offset(freq))
    if period is pd.NaT:
        raise ValueError("not a Period")
    return period


def _raise_interval(_reader: Reader, items: list[Any]) -> Any:
    left, right, closed = items
    if exactly(closed, str) not in _CLOSED:
        raise ValueError("an interval that is not closed on any known side")
    for end in (left, right):
        if type(end) not in (int, float, pd.Timestamp, pd.Timedelta) and not isinstance(end, np.number):
            raise TypeError("an interval of other than numbers or times")
    return pd.Interval(left, right, closed)


RAISE: dict[str, RaiseNode] = {
    "pandas.NA": lambda _reader, _items: pd.NA,
    "pandas.NaT": lambda _reader, _items: pd.NaT,
    "pandas.Timestamp": _raise_timestamp,
    "pandas.Timedelta": _raise_timedelta,
    "pandas.Period": _raise_period,
    "pandas.Interval": _raise_interval,
}
