"""Classes that values in these tests are made of, and a comparison that does not trust `==`."""

from __future__ import annotations

import math
import struct
from array import array
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag, IntEnum, IntFlag, StrEnum
from types import MappingProxyType, SimpleNamespace
from typing import Any, ClassVar, NamedTuple
from uuid import UUID


class Colour(Enum):
    RED = 1
    GREEN = "green"
    ALSO_RED = 1  # noqa: PIE796  # an alias is what is tested


class Level(IntEnum):
    LOW = 1
    HIGH = 2**80


class Mode(StrEnum):
    FAST = "fast"


class Access(Flag):
    READ = 1
    WRITE = 2


class Bits(IntFlag):
    ONE = 1
    FOUR = 4


class Shape(Enum):
    """Members with values that are no leaves."""

    POINT = (0, 0)
    NOT_A_NUMBER = float("nan")


Pair = namedtuple("Pair", "left right")  # both forms are used in the wild


class Point(NamedTuple):
    x: int
    y: Any = 0

    def length(self) -> float:
        return math.hypot(self.x, self.y)


class NamedPoint(Point):
    """A named tuple with attributes of its own."""


ran: list[str] = []  # what ran, of the code of the classes below


@dataclass
class Run:
    name: str
    values: list[Any] = field(default_factory=list)
    count: ClassVar[int] = 0

    def __post_init__(self) -> None:
        ran.append("post_init")


@dataclass(frozen=True)
class Frozen:
    key: Any


@dataclass(frozen=True, slots=True)
class Slotted:
    a: Any
    b: Any = None


@dataclass
class Child(Run):
    extra: Any = None


@dataclass(eq=False)
class Thing:
    """Compared by identity."""

    value: Any


@dataclass
class OwnState:
    value: Any

    def __getstate__(self) -> dict[str, Any]:
        return {"value": self.value}


class MyDict(dict):  # type: ignore[type-arg]
    pass


class MyList(list):  # type: ignore[type-arg]
    pass


class Plain:
    """Neither plain nor special: pickle's ordinary case."""

    def __init__(self, value: Any) -> None:
        self.value = value


def same(left: Any, right: Any) -> bool:
    """Whether two values cannot be told apart: types, order, signs of zero, bits of a NaN, folds, limits."""
    if type(left) is not type(right):
        return False
    if isinstance(left, Enum):
        return left is right
    if type(left) is float:
        return struct.pack(">d", left) == struct.pack(">d", right)
    if type(left) is complex:
        return same([left.real, left.imag], [right.real, right.imag])
    if isinstance(left, defaultdict):
        return left.default_factory is right.default_factory and same(dict(left), dict(right))
    if isinstance(left, (OrderedDict, Counter, MappingProxyType, dict)):
        return same(list(left.items()), list(right.items())) and same(
            getattr(left, "__dict__", None), getattr(right, "__dict__", None)
        )
    if isinstance(left, deque) and left.maxlen != right.maxlen:
        return False
    if isinstance(left, (list, tuple, deque)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, (set, frozenset)):
        # A NaN is in a set by identity, so the members are paired off.
        rest = list(right)
        for item in left:
            found = next((at for at, other in enumerate(rest) if same(item, other)), None)
            if found is None:
                return False
            del rest[found]
        return not rest
    if isinstance(left, (datetime, time)):
        return (
            left.fold == right.fold and left.isoformat() == right.isoformat() and _zone(left) == _zone(right)
        )
    if isinstance(left, (date, timedelta)):
        return left == right
    if isinstance(left, Decimal):
        return left.as_tuple() == right.as_tuple()
    if isinstance(left, UUID):
        return left == right and left.is_safe is right.is_safe
    if isinstance(left, array):
        return (left.typecode, left.tobytes()) == (right.typecode, right.tobytes())
    if isinstance(left, SimpleNamespace):
        return same(vars(left), vars(right))
    if isinstance(left, slice):
        return same((left.start, left.stop, left.step), (right.start, right.stop, right.step))
    if is_dataclass(left):
        return all(same(getattr(left, f.name), getattr(right, f.name)) for f in fields(left)) and same(
            list(getattr(left, "__dict__", ())), list(getattr(right, "__dict__", ()))
        )
    return bool(left == right and repr(left) == repr(right))


def _zone(value: datetime | time) -> Any:
    zone = value.tzinfo
    return None if zone is None else (type(zone), repr(zone), id(zone) if hasattr(zone, "key") else 0)
