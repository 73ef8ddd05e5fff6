"""Types and functions that the golden keys are made of. What is here never changes: its names and code are in
those keys.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
from typing import NamedTuple

from scalable_cas.keys.wrappers import GenericType


class Color(enum.Enum):
    RED = 1
    GREEN = "g"
    PAIR = (1, 2)


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    A = "a"


class Bits(enum.Flag):
    A = 1
    B = 2


Point = collections.namedtuple("Point", "x y")


class Named(NamedTuple):
    x: int
    y: int = 2


@dataclasses.dataclass
class Data:
    a: int = 1
    b: list = dataclasses.field(default_factory=list)
    note: str = dataclasses.field(default="", metadata={"cache_key": False})
    hidden: int = dataclasses.field(default=7, compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    a: int = 1


class Plain:
    def __init__(self, x=1, y=None):
        self.x = x
        self.y = y

    @functools.cached_property
    def derived(self):
        return (self.x, self.y)

    def method(self, z):
        return self.x + z


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a):
        self.a = a


class SlotBelow:
    __slots__ = ("x",)


class SlotAbove(SlotBelow):
    """Has a slot of the same name: methods of the base see the base's."""

    __slots__ = ("x",)

    def __init__(self, below, above):
        SlotBelow.x.__set__(self, below)
        self.x = above


class SlottedMore(Slotted):
    __slots__ = ("c",)

    def __init__(self, a, c):
        super().__init__(a)
        self.c = c


class Number(int):
    pass


class Text(str):
    pass


class Table(dict):
    pass


class Row(list):
    pass


class Pair(tuple):
    pass


class Bag(set):
    pass


class Days(collections.OrderedDict):
    pass


class Keyed:
    def __init__(self, *content):
        self.content = content
        self.noise = object()

    def __scalable_key__(self):
        return self.content


class Digested(GenericType):
    def digest(self):
        return str(self.value).encode()


class Lengthy(GenericType):
    def __hash__(self):
        return len(self.value)


def add(a, b=2, *, c=3):
    return a + b + c


def scaled(factor):
    def inner(x):
        return x * factor

    return inner


def counting(calls):
    def inner(x):
        calls.append(x)
        return x

    return inner


double = lambda x: 2 * x  # noqa: E731 (a lambda is what is tested)


def takes_all(a, b=2, /, c=3, *rest, d=4, **more):
    return a, b, c, rest, d, more


def takes_nothing():
    return None


def retrying(times):
    def decorate(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs), times

        return wrapper

    return decorate


@retrying(3)
def wrapped(x, y=2):
    return x, y


def cyclic_list():
    value = [1]
    value.append(value)
    return value


def cyclic_dict():
    value = {"a": 1}
    value["self"] = [value, {"up": value}]
    return value


def ring(n):
    first = node = Plain(0)
    for i in range(1, n):
        node.y = Plain(i)
        node = node.y
    node.y = first
    return first


def nested_list(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def dag(depth):
    value = 1
    for _ in range(depth):
        value = [value, value]
    return value
