"""The parts of the standard library's value types. Each function is called when the first type of its module
is met.

So nothing is imported here that is not loaded already (registry.LIBRARIES). Handlers use the methods of the
base class on the instance, because they serve subclasses too, whose own methods are the user's code.
"""

from __future__ import annotations

import sys

from .nodes import ORDERED, PAIRS, Fields, Refused, Viewed, typed_node
from .tags import encode_bytes, encode_int, encode_str, typed, typed_prefix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .nodes import Node, Walk
    from .registry import Handlers


def builtin_handlers() -> Handlers:
    """range, slice, memoryview, MappingProxyType and the callables of builtins."""
    from .callables import builtin_callables

    leaves, nodes = builtin_callables()
    leaves[range] = lambda value: typed(
        "range", (encode_int(value.start), encode_int(value.stop), encode_int(value.step))
    )
    leaves[memoryview] = _memoryview
    nodes[type(vars(type))] = _mapping_proxy  # its type says "builtins"
    nodes[slice] = lambda value, _: typed_node("slice", (value.start, value.stop, value.step))
    return leaves, nodes


def _memoryview(value: memoryview) -> bytes:
    try:
        parts = [encode_str(value.format), *map(encode_int, value.shape or ())]
    except ValueError as error:
        raise Refused("this memoryview was released") from error
    return typed("memoryview", (*parts, encode_bytes(value.tobytes())))


def types_handlers() -> Handlers:
    """SimpleNamespace, and the aliases of types."""
    import types

    from .callables import types_callables

    leaves, nodes = types_callables()
    nodes[types.SimpleNamespace] = lambda value, _: typed_node(
        "SimpleNamespace", (Fields(object.__getattribute__(value, "__dict__")),)
    )
    return leaves, nodes


def _mapping_proxy(value: Any, _: Walk) -> Node:
    import gc

    # The only way to the mapping itself that runs none of its code (it may be of a user's class).
    return typed_node("MappingProxyType", tuple(gc.get_referents(value)))


def array_handlers() -> Handlers:
    """array.array: type code, item size, bytes little-endian."""
    from array import array

    def encode(value: array[Any]) -> bytes:
        if sys.byteorder == "big":
            value = value[:]
            value.byteswap()
        content = encode_bytes(memoryview(value).cast("B"))
        return typed("array", (encode_str(value.typecode), encode_int(value.itemsize), content))

    return {array: encode}, {}


def collections_handlers() -> Handlers:
    """OrderedDict (its order counts), defaultdict, Counter, deque."""
    from collections import Counter, OrderedDict, defaultdict, deque

    maxlen: Any = vars(deque)["maxlen"]
    factory: Any = vars(defaultdict)["default_factory"]

    def table(value: Any, _: Walk) -> Node:
        return b"d", PAIRS, [*dict.items(value)]

    ordered, counter = typed_prefix("OrderedDict"), typed_prefix("Counter")

    def of_deque(value: Any, _: Walk) -> Node:
        # deque.copy() would make an instance of the subclass; iterating the C type runs no code of the user's
        return typed_node("deque", (maxlen.__get__(value), [*deque.__iter__(value)]))

    def with_attributes(kind: type, plain: Any) -> Any:
        """Even one of exactly this type can be given attributes; it is then as one of a subclass."""

        def decompose(value: Any, walk: Walk) -> Node:
            if type(value) is kind and (added := vars(value)):
                return typed_node("subclass", (kind, Fields(added), Viewed(value, plain)))
            return plain(value, walk)  # type: ignore[no-any-return]

        return decompose

    return {}, {
        OrderedDict: with_attributes(
            OrderedDict, lambda value, _: (ordered, ORDERED, [*OrderedDict.items(value)])
        ),
        Counter: with_attributes(Counter, lambda value, _: (counter, PAIRS, [*dict.items(value)])),
        defaultdict: lambda value, _: typed_node(
            "defaultdict", (factory.__get__(value), Viewed(value, table))
        ),
        deque: of_deque,
    }


def datetime_handlers() -> Handlers:
    """date, time, datetime (with fold and zone), timedelta, timezone (offset and name)."""
    import datetime as dt

    def of_timedelta(value: dt.timedelta) -> bytes:
        return typed(
            "timedelta", (encode_int(value.days), encode_int(value.seconds), encode_int(value.microseconds))
        )

    def of_timezone(value: dt.timezone) -> bytes:
        return typed("timezone", (of_timedelta(value.utcoffset(None)), encode_str(value.tzname(None))))

    def of_time(value: dt.time, _: Walk) -> Node:
        parts = (value.hour, value.minute, value.second, value.microsecond, value.fold, value.tzinfo)
        return typed_node("time", parts)

    def of_datetime(value: dt.datetime, _: Walk) -> Node:
        day = (value.year, value.month, value.day)
        clock = (value.hour, value.minute, value.second, value.microsecond)
        return typed_node("datetime", (*day, *clock, value.fold, value.tzinfo))

    return {
        dt.date: lambda day: typed(
            "date", (encode_int(day.year), encode_int(day.month), encode_int(day.day))
        ),
        dt.timedelta: of_timedelta,
        dt.timezone: of_timezone,
    }, {dt.time: of_time, dt.datetime: of_datetime}


def zoneinfo_handlers() -> Handlers:
    """ZoneInfo: its IANA key. The rules behind the key are the machine's, as in every program."""
    from zoneinfo import ZoneInfo

    def of_zone(value: ZoneInfo) -> bytes:
        if value.key is None:
            raise Refused("a ZoneInfo that was read from a file has no name")
        return typed("ZoneInfo", (encode_str(value.key),))

    return {ZoneInfo: of_zone}, {}


def decimal_handlers() -> Handlers:
    """Decimal: sign, digits, exponent, so 1.0 and 1.00 are two. ``str()`` would depend on the decimal
    context.
    """
    from decimal import Decimal

    def of_decimal(value: Decimal) -> bytes:
        sign, digits, exponent = Decimal.as_tuple(value)
        scale = encode_str(exponent) if isinstance(exponent, str) else encode_int(exponent)
        # the digits one byte each: an int of them would be quadratic, and text is limited to 4,300 digits
        return typed("Decimal", (encode_int(sign), encode_bytes(bytes(digits)), scale))

    return {Decimal: of_decimal}, {}


def fractions_handlers() -> Handlers:
    """Fraction: numerator and denominator."""
    from fractions import Fraction

    return {
        Fraction: lambda value: typed(
            "Fraction", (encode_int(value.numerator), encode_int(value.denominator))
        )
    }, {}


def ipaddress_handlers() -> Handlers:
    """Addresses, networks and interfaces, by their integers and the IPv6 scope."""
    import ipaddress as ip

    def of_address(value: Any) -> bytes:
        scope = encode_str(getattr(value, "scope_id", None) or "")
        return typed(f"IPv{value.version}Address", (encode_int(int(value._ip)), scope))  # noqa: SLF001 (no method)

    def of_network(value: Any) -> bytes:
        address = of_address(value.network_address)
        return typed(f"IPv{value.version}Network", (address, encode_int(value.prefixlen)))

    def of_interface(value: Any) -> bytes:
        return typed(f"IPv{value.version}Interface", (of_address(value), encode_int(value.network.prefixlen)))

    return {
        **dict.fromkeys((ip.IPv4Address, ip.IPv6Address), of_address),
        **dict.fromkeys((ip.IPv4Network, ip.IPv6Network), of_network),
        **dict.fromkeys((ip.IPv4Interface, ip.IPv6Interface), of_interface),
    }, {}


def pathlib_handlers() -> Handlers:
    """Paths as text with ``/``. PosixPath and WindowsPath are one kind, so a key does not depend on the
    system.
    """
    import pathlib

    def of(kind: str) -> Any:
        return lambda value: typed(kind, (encode_str(pathlib.PurePath.as_posix(value)),))

    path = of("Path")
    return {
        pathlib.PurePosixPath: of("PurePosixPath"),
        pathlib.PureWindowsPath: of("PureWindowsPath"),
        pathlib.PosixPath: path,
        pathlib.WindowsPath: path,
    }, {}


def re_handlers() -> Handlers:
    """Compiled patterns: pattern and flags."""
    import re

    def of_pattern(value: re.Pattern[Any]) -> bytes:
        text = value.pattern
        source = encode_str(text) if isinstance(text, str) else encode_bytes(bytes(text))
        return typed("Pattern", (source, encode_int(value.flags)))

    return {re.Pattern: of_pattern}, {}


def uuid_handlers() -> Handlers:
    """UUID: its 16 bytes."""
    from uuid import UUID

    return {UUID: lambda value: typed("UUID", (encode_bytes(value.int.to_bytes(16, "big")),))}, {}
