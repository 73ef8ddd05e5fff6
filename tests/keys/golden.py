"""Golden keys: what the recipe gives for known values. `python -m tests.keys.golden` adds missing ones, and
changes none.

An entry that no longer comes out right means that every stored result of every user has lost its key. Then
either the code is wrong, or the recipe needs a new number, and a new file.
"""

from __future__ import annotations

import array
import collections
import datetime as dt
import decimal
import fractions
import functools
import importlib
import importlib.metadata
import importlib.util
import ipaddress
import json
import math
import operator
import pathlib
import re
import sys
import types
import uuid
import zoneinfo

from scalable_cas.keys.call import CallKeyer
from scalable_cas.keys.encode import encode
from scalable_cas.keys.wrappers import ObjectType, ValueType

from . import golden_arrays, golden_frames, samples

FILE = pathlib.Path(__file__).resolve().parents[2] / "fixtures" / "keys-v1.json"

NAMES = {
    **{name: value for name, value in vars(samples).items() if not name.startswith("_")},
    **{
        module.__name__: module
        for module in (
            *(array, collections, decimal, fractions, functools, ipaddress, math, operator),
            *(pathlib, re, types, uuid, zoneinfo),
        )
    },
    "dt": dt,
    "samples": samples,
    "ValueType": ValueType,
    "ObjectType": ObjectType,
}

# Expressions over NAMES. Only ever added to.
VALUES = """
None
True
False
0
1
-1
255
256
2**63 - 1
2**63
-2**63
-2**63 - 1
2**64
-2**64
2**127 - 1
2**127
10**5000
-10**5000
0.0
-0.0
1.0
-1.5
1e-320
math.pi
math.inf
-math.inf
math.nan
-math.nan
0j
complex(1.5, -2)
complex(-0.0, math.nan)
''
'a'
'\\x00'
'é'
'e\\u0301'
'\\ud800'
'\\U0001f600'
'x' * 64
'x' * 65
'x' * 1024
'x' * 1025
'é' * 512
'é' * 513
b''
b'a'
b'\\xff' * 1024
b'\\xff' * 1025
bytearray(b'')
bytearray(b'abc')
bytearray(b'x' * 2000)
memoryview(b'abcd')
memoryview(b'abcd').cast('B', (2, 2))
memoryview(b'abcdef')[::2]
...
NotImplemented
[]
()
{}
set()
frozenset()
[1, 2, 3]
(1, 2, 3)
[1, [2, [3, [4]]]]
[None, True, 1, 1.0, 'a', b'a']
['x' * 500, 'y' * 500]
['x' * 1006]
['x' * 1007]
[*range(113)]
[*range(114)]
[*range(8192)]
[*range(8193)]
(*range(20000),)
[[*range(200)], [*range(200)]]
{'a': 1}
{'b': 1, 'a': 2}
{1: 'int', '1': 'str', 1.5: 'float', None: 0, (1, 2): 'tuple', b'b': 'bytes'}
{'nested': {'z': [1, {'y': (2,)}]}}
{str(i): i for i in range(100)}
{1, 2, 3}
{'a', 1, None, 2.5, (1, 2)}
frozenset({frozenset({1}), frozenset({1, 2})})
{i for i in range(1000)}
range(3)
range(1, 10, 2)
range(2**70)
slice(1, None, 2)
slice('a', [1], None)
fractions.Fraction(1, 3)
decimal.Decimal('1.0')
decimal.Decimal('1.00')
decimal.Decimal('-0')
decimal.Decimal('1E+5')
decimal.Decimal('NaN')
decimal.Decimal('sNaN12')
decimal.Decimal('-Infinity')
dt.date(2024, 2, 29)
dt.time(1, 2, 3, 4)
dt.time(1, 2, fold=1, tzinfo=dt.timezone.utc)
dt.datetime(2024, 2, 29, 12, 30, 15, 123456)
dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo('Europe/Paris'))
dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-5), 'EST'))
dt.timedelta(days=-1, seconds=5, microseconds=7)
dt.timezone.utc
zoneinfo.ZoneInfo('UTC')
uuid.UUID('12345678-1234-5678-1234-567812345678')
ipaddress.ip_address('127.0.0.1')
ipaddress.ip_address('::1')
ipaddress.ip_address('fe80::1%eth0')
ipaddress.ip_network('10.0.0.0/8')
ipaddress.ip_network('2001:db8::/32')
ipaddress.ip_interface('10.0.0.1/8')
pathlib.Path('/a/b')
pathlib.Path('a')
pathlib.PurePosixPath('/a/b')
pathlib.PureWindowsPath('C:\\\\a')
re.compile('a+', re.I)
re.compile(b'a+')
collections.OrderedDict([('b', 1), ('a', 2)])
collections.defaultdict(list, a=[1])
collections.Counter('hello')
collections.deque([1, 2], 5)
collections.deque([1, 2])
types.MappingProxyType({'a': 1})
types.SimpleNamespace(b=1, a=[2])
array.array('i', [1, -2])
array.array('d', [0.5])
array.array('B', b'x' * 2000)
Color.RED
Color.GREEN
Color.PAIR
Level.LOW
Word.A
Bits.A
Bits.A | Bits.B
Bits(0)
Point(1, 2)
Named(1)
Data()
Data(2, [1, {'k': 2}], 'ignored', 8)
Frozen(3)
Plain()
Plain(1, Plain(2, [3]))
Slotted(1)
SlottedMore(1, 2)
Number(5)
Text('a')
Table(a=1)
Row([1, 2])
Pair((1, 2))
Bag({1, 2})
Days(a=1)
Keyed()
Keyed(1, 'a', [2])
Digested(12)
Lengthy('abc')
ValueType([1])
ObjectType(Plain(1))
ObjectType(ValueError('a', 1))
int
type(None)
pathlib.PurePath
collections.defaultdict(pathlib.Path)
Plain
Color
collections.OrderedDict
list[int]
dict[str, list[int]]
int | None
len
[].append
'a'.join
str.upper
dict.fromkeys
add
double
scaled(3)
scaled([1, 2])
counting([1])
functools.partial(add, 1, c=4)
functools.lru_cache(add)
Plain(1).method
Plain.method
operator.itemgetter(1)
operator.itemgetter(1, 'a')
operator.attrgetter('a.b')
operator.methodcaller('f', 1, k=2)
samples.cyclic_list()
samples.cyclic_dict()
samples.ring(3)
samples.nested_list(100)
samples.nested_list(2000)
samples.dag(60)
""".strip().splitlines()

# Calls: function, arguments as an expression, options of the keyer, seed.
CALLS = [
    ("add", "(1,), {}", {}, None),
    ("add", "(1, 2), {'c': 3}", {}, None),
    ("add", "(1,), {}", {}, ""),
    ("add", "(1,), {}", {}, "salt"),
    ("add", "(1,), {}", {"version": 1}, None),
    ("add", "(1,), {}", {"version": "1"}, None),
    ("add", "(1,), {}", {"ignore": ["b"]}, None),
    ("add", "('x' * 5000, [*range(1000)]), {}", {}, None),
    ("samples.takes_all", "(1, 2, 3, 4), {'z': 1, 'y': 2, 'd': 5}", {}, None),
    ("samples.takes_all", "(0,), {'a': 1}", {}, None),
    ("samples.takes_nothing", "(), {}", {}, None),
    ("samples.wrapped", "(1,), {}", {}, None),
    ("samples.wrapped", "(), {'x': 1}", {}, None),
    ("Plain.method", "(Plain(1), 2), {}", {}, None),
    ("Plain(1).method", "(2,), {}", {}, None),
    ("functools.partial(add, 1)", "(2,), {}", {}, None),
    ("scaled(3)", "(1,), {}", {}, None),
    ("double", "(1,), {}", {}, None),
    ("len", "([1],), {}", {}, None),
    ("print", "(1,), {'sep': ''}", {}, None),
]


# Values of libraries: expression -> the libraries that it needs, by the names under which it uses them. Their
# keys are checked where they are installed.
LIBRARY_VALUES = {**golden_arrays.VALUES, **golden_frames.VALUES}


def missing_libraries(expression):
    """Which libraries the expression needs and this Python does not have. `name>=1.2` asks for a version."""
    return [name for name in LIBRARY_VALUES.get(expression, {}).values() if not is_there(name)]


@functools.cache
def is_there(wanted):
    name, _, least = wanted.partition(">=")
    package = name.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        return False
    have = re.findall(r"\d+", importlib.metadata.version(package)) if least else []
    return [*map(int, have)] >= [*map(int, least.split("."))] if least else True


def value(expression):
    libraries = LIBRARY_VALUES.get(expression, {})
    names = {alias: importlib.import_module(name.partition(">=")[0]) for alias, name in libraries.items()}
    return eval(expression, {**NAMES, **vars(golden_arrays), **vars(golden_frames), **names})


def encoding_of(expression):
    return encode(value(expression)).hex()


def key_of(function, arguments, options, seed):
    args, kwargs = value(arguments)
    keyer = CallKeyer(value(function), arg_types={}, **options)
    return [keyer.fnid.hex(), keyer.bind(args, kwargs, seed)[0].hex()]


def call_name(function, arguments, options, seed):
    return json.dumps([function, arguments, options, seed])


def all_now():
    return {
        "values": {
            expression: encoding_of(expression)
            for expression in (*VALUES, *LIBRARY_VALUES)
            if not missing_libraries(expression)
        },
        "calls": {call_name(*call): key_of(*call) for call in CALLS},
    }


def stored():
    return json.loads(FILE.read_text()) if FILE.exists() else {"values": {}, "calls": {}}


def main():
    """Add what is missing; with --print, print all as they come out here, and write nothing."""
    now, known = all_now(), stored()
    if sys.argv[1:] == ["--print"]:
        print(json.dumps(now))
        return
    for part in ("values", "calls"):
        changed = [name for name, old in known[part].items() if now[part].get(name, old) != old]
        if changed:
            sys.exit(f"golden {part} have changed, nothing was written: {changed}")
        known[part] |= now[part]
    FILE.write_text(json.dumps({"recipe": 1, **known}, indent=1) + "\n")
    print(f"{len(known['values'])} values, {len(known['calls'])} calls")


if __name__ == "__main__":
    main()
