"""The numbers of the plain codec's tags (docs/reference/values-v1.md). A number, once given, is never given
again.
"""

from __future__ import annotations

from msgpack import ExtType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from scalable_cas.codecs.lifting import Reader
    from scalable_cas.codecs.lowering import Lowering

    # A value of one type to what msgpack can write; and back, from the payload of a leaf or the items after a
    # mark.
    Lower = Callable[[Lowering, Any], Any]
    RaiseLeaf = Callable[[Reader, bytes], Any]
    RaiseNode = Callable[[Reader, list[Any]], Any]


#: First byte of a head that uses tags. msgpack never writes it, so a head without it is msgpack and nothing
#: else.
TAGGED = 0xC1

# Leaves: the payload is the whole value.
BIG_INT = 1
COMPLEX = 2
SINGLETON = 3
BUFFER = 4
DATE = 5
TIME = 6
DATETIME = 7
TIMEDELTA = 8
ZONE = 9
DECIMAL = 10
UUID = 11
PATH = 12
MEMORY = 13
BACK = 14

# Marks: without payload, first in an array whose other items are the value's parts.
TUPLE = 32
SET = 33
FROZENSET = 34
MAP = 35
ORDERED_DICT = 36
DEFAULT_DICT = 37
COUNTER = 38
DEQUE = 39
RANGE = 40
SLICE = 41
NAMESPACE = 42
MAPPING_PROXY = 43
BYTEARRAY = 44
ARRAY = 45
FRACTION = 46
TIMEZONE = 47
AWARE = 48
CLASS = 49
INSTANCE = 50
LIBRARY = 51
SHARED = 52

#: What starts the array of a marked value, ready made.
MARK = {code: ExtType(code, b"") for code in range(TUPLE, SHARED + 1)}


class NotPlain(Exception):
    """The plain codec cannot give this value back exactly; another codec has to store it. Never leaves the
    package.
    """


class Twice(NotPlain):
    """A mutable object occurs a second time, or contains itself."""
