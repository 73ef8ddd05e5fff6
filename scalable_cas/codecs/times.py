"""Dates, times and their zones, down and up again (for `stdlib.py`, which says how types are found)."""

from __future__ import annotations

import sys
from struct import Struct

from scalable_cas.codecs import tags
from scalable_cas.codecs.tags import NotPlain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.codecs.lifting import Reader
    from scalable_cas.codecs.lowering import Lowering
    from scalable_cas.codecs.tags import Lower, RaiseLeaf, RaiseNode

_DATE = Struct(">HBB")
_TIME = Struct(">BBBIB")
_DATETIME = Struct(">HBBBBBIB")
_TIMEDELTA = Struct(">iII")


def _date(state: Lowering, value: Any) -> Any:
    return state.leaf(tags.DATE, _DATE.pack(value.year, value.month, value.day))


def _raise_date(_reader: Reader, data: bytes) -> Any:
    import datetime as dt

    return dt.date(*_DATE.unpack(data))


def _time(state: Lowering, value: Any) -> Any:
    data = _TIME.pack(value.hour, value.minute, value.second, value.microsecond, value.fold)
    return _aware(state, state.leaf(tags.TIME, data), value.tzinfo)


def _raise_time(_reader: Reader, data: bytes) -> Any:
    import datetime as dt

    *parts, fold = _TIME.unpack(data)
    return dt.time(*parts, fold=fold)


def _datetime(state: Lowering, value: Any) -> Any:
    data = _DATETIME.pack(
        value.year,
        value.month,
        value.day,
        value.hour,
        value.minute,
        value.second,
        value.microsecond,
        value.fold,
    )
    return _aware(state, state.leaf(tags.DATETIME, data), value.tzinfo)


def _raise_datetime(_reader: Reader, data: bytes) -> Any:
    import datetime as dt

    *parts, fold = _DATETIME.unpack(data)
    return dt.datetime(*parts, fold=fold)  # noqa: DTZ001  # the zone, if any, is added by _raise_aware


def _aware(state: Lowering, naive: Any, zone: Any) -> Any:
    return naive if zone is None else state.marked(tags.AWARE, naive, state.lower(zone))


def _raise_aware(_reader: Reader, items: list[Any]) -> Any:
    import datetime as dt

    naive, zone = items
    zoneinfo = sys.modules.get("zoneinfo")
    a_zone = type(zone) is dt.timezone or (zoneinfo is not None and type(zone) is zoneinfo.ZoneInfo)
    if type(naive) not in (dt.datetime, dt.time) or not a_zone:
        raise TypeError("a time and its zone are missing")
    return naive.replace(tzinfo=zone)


def _timedelta(state: Lowering, value: Any) -> Any:
    return state.leaf(tags.TIMEDELTA, _TIMEDELTA.pack(value.days, value.seconds, value.microseconds))


def _raise_timedelta(_reader: Reader, data: bytes) -> Any:
    import datetime as dt

    return dt.timedelta(*_TIMEDELTA.unpack(data))


def _timezone(state: Lowering, value: Any) -> Any:
    # (offset,) or (offset, name): a name that equals the automatic one is kept too, because it is compared
    # and printed.
    return state.marked(tags.TIMEZONE, *state.each(value.__getinitargs__()))


def _raise_timezone(_reader: Reader, items: list[Any]) -> Any:
    import datetime as dt

    return dt.timezone(*items)  # without a name and with offset 0 this is `timezone.utc` itself


def _zone(state: Lowering, value: Any) -> Any:
    # Only what `ZoneInfo(key)` gives: a zone read from a file has no key, and `no_cache` makes one of another
    # identity.
    if not isinstance(value.key, str) or type(value)(value.key) is not value:
        raise NotPlain("a time zone that its key does not find")
    return state.leaf(tags.ZONE, value.key.encode())


def _raise_zone(_reader: Reader, data: bytes) -> Any:
    return zone_of(data.decode("ascii"))


def zone_of(key: str) -> Any:
    """Return the zone of a key that may be foreign.

    Raises:
        ValueError, zoneinfo.ZoneInfoNotFoundError: there is none.
    """
    import zoneinfo

    return zoneinfo.ZoneInfo(zone_key(key))


def zone_key(key: str) -> str:
    """Return the key of a time zone if it is nothing else.

    Raises:
        ValueError: it could lead somewhere else.
    """
    # A key is a path below the time zone folders, or a resource of the `tzdata` package. zoneinfo refuses
    # what leads out of them; no dot at all also keeps it from naming a module of that package.
    if not key.replace("/", "").replace("_", "").replace("-", "").replace("+", "").isalnum():
        raise ValueError("not the key of a time zone")
    return key


#: By module and qualified name of the type.
LOWER: dict[tuple[str, str], Lower] = {
    ("datetime", "date"): _date,
    ("datetime", "time"): _time,
    ("datetime", "datetime"): _datetime,
    ("datetime", "timedelta"): _timedelta,
    ("datetime", "timezone"): _timezone,
    ("zoneinfo", "ZoneInfo"): _zone,
}

LEAVES: dict[int, RaiseLeaf] = {
    tags.DATE: _raise_date,
    tags.TIME: _raise_time,
    tags.DATETIME: _raise_datetime,
    tags.TIMEDELTA: _raise_timedelta,
    tags.ZONE: _raise_zone,
}

NODES: dict[int, RaiseNode] = {
    tags.AWARE: _raise_aware,
    tags.TIMEZONE: _raise_timezone,
}
