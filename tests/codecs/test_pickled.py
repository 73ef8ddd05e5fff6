from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextvars
import datetime as dt
import fractions
import functools
import io
import itertools
import logging
import os
import pickle
import queue
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import types
import weakref

import numpy as np
import pytest

from scalable_cas.codecs import decode, encode, pickled
from scalable_cas.codecs.encoded import OUT_OF_BAND
from scalable_cas.errors import MalformedObject, NotStorable, UntrustedEntry
from tests.codecs import samples
from tests.codecs.samples import MyDict, Plain

LARGE = OUT_OF_BAND // 8


def there_and_back(value, *, buffer=bytes):
    """By this codec, also where another would come first."""
    encoded = pickled.encode(value)
    return decode("pickle", encoded.head, [buffer(part) for part in encoded.buffers], trusted=True)


def test_ordinary_objects_and_subclasses_of_builtins():
    back = there_and_back([Plain({1: MyDict(a=(2,))})])
    assert type(back[0]) is Plain
    assert type(back[0].value[1]) is MyDict
    assert back[0].value == {1: {"a": (2,)}}


def test_functions_and_classes():
    factor = 3
    back = there_and_back([lambda value: value * factor, functools.partial(int, base=2), Plain, len])
    assert back[0](2) == 6
    assert back[1]("11") == 3
    assert back[2] is Plain
    assert back[3] is len


def test_a_function_may_use_modules():
    assert there_and_back(lambda: os.path.join("a", "b"))() == "a/b"


def test_large_arrays_leave_the_stream_without_a_copy():
    array = np.arange(LARGE, dtype="f8")
    encoded = pickled.encode({"a": array, "small": np.arange(3)})
    assert len(encoded.head) < 1000
    (buffer,) = encoded.buffers
    assert np.shares_memory(np.frombuffer(buffer, "f8"), array)


@pytest.mark.parametrize(
    "buffer",
    [bytes, bytearray, lambda part: memoryview(bytes(part)), lambda part: memoryview(bytearray(part))],
)
@pytest.mark.parametrize("size", [3, LARGE])
def test_arrays_are_writable_where_they_were(buffer, size):
    free = np.arange(size, dtype="f8")
    fixed = free + 1
    fixed.flags.writeable = False
    fortran = np.asfortranarray(np.arange(size * 2.0).reshape(2, size))
    back = there_and_back([free, fixed, fortran], buffer=buffer)
    assert [item.flags.writeable for item in back] == [True, False, True]
    assert back[2].flags.f_contiguous
    for item, before in zip(back, [free, fixed, fortran], strict=True):
        np.testing.assert_array_equal(item, before)
        assert item.dtype == before.dtype
    back[0][0] = -1
    assert free[0] == 0


def test_each_hit_has_memory_of_its_own():
    encoded = pickled.encode(np.zeros(LARGE))
    buffers = [bytes(part) for part in encoded.buffers]
    first, second = (decode("pickle", encoded.head, buffers, trusted=True) for _ in range(2))
    first[0] = 1
    assert second[0] == 0
    assert buffers == [bytes(LARGE * 8)]


def test_writable_memory_is_used_as_it_is():
    encoded = pickled.encode(np.zeros(LARGE))
    memory = bytearray(encoded.buffers[0])
    array = decode("pickle", encoded.head, [memory], trusted=True)
    array[0] = 1
    assert memory[:8] != bytes(8)


def test_shared_arrays_are_shared_again():
    array = np.zeros(LARGE)
    first, second = there_and_back([array, array])
    assert first is second


def test_arrays_that_are_not_contiguous():
    array = np.arange(LARGE * 4.0).reshape(-1, 2)[:, 0]
    np.testing.assert_array_equal(there_and_back(array), array)


async def coroutine():
    """Never awaited."""


def generator():
    yield 1


def with_traceback():
    try:
        raise ValueError("x")
    except ValueError as error:
        return error


def with_cause():
    error = ValueError("x")
    error.__cause__ = KeyError("y")
    return error


class Closes:
    """Makes a thing, and closes it after the test."""

    def __init__(self, make, close):
        self.make, self.close = make, close


class DateWithMore(dt.date):
    pass


def with_attribute(value):
    value.extra = 1
    return value


UNSTORABLE = {
    "file": Closes(lambda: open(__file__), lambda found: found.close()),  # noqa: SIM115
    "binary file": Closes(lambda: open(__file__, "rb"), lambda found: found.close()),  # noqa: SIM115
    "raw file": Closes(lambda: io.FileIO(__file__), lambda found: found.close()),
    "temporary file": Closes(tempfile.NamedTemporaryFile, lambda found: found.close()),
    "temporary folder": Closes(tempfile.TemporaryDirectory, lambda found: found.cleanup()),
    "standard output": Closes(lambda: sys.__stdout__, lambda _found: None),
    "socket": Closes(socket.socket, lambda found: found.close()),
    "database": Closes(lambda: sqlite3.connect(":memory:"), lambda found: found.close()),
    "coroutine": Closes(coroutine, lambda found: found.close()),
    "event loop": Closes(asyncio.new_event_loop, lambda found: found.close()),
    "process": Closes(lambda: subprocess.Popen(["true"]), lambda found: found.wait()),
    "pool": Closes(concurrent.futures.ThreadPoolExecutor, lambda found: found.shutdown()),
}
UNSTORABLE |= {
    name: Closes(make, lambda _found: None)
    for name, make in {
        "generator": generator,
        "list iterator": lambda: iter([1, 2]),
        "tuple iterator": lambda: iter((1, 2)),
        "text iterator": lambda: iter("ab"),
        "range iterator": lambda: iter(range(3)),
        "set iterator": lambda: iter({1}),
        "dict iterator": lambda: iter({1: 2}),
        "deque iterator": lambda: iter(collections.deque([1])),
        "reversed": lambda: reversed([1]),
        "zip": lambda: zip([1], [2], strict=True),
        "map": lambda: map(int, ["1"]),
        "filter": lambda: filter(None, [1]),
        "enumerate": lambda: enumerate("a"),
        "count": itertools.count,
        "chain": lambda: itertools.chain([1], [2]),
        "keys": {1: 2}.keys,
        "values": {1: 2}.values,
        "items": {1: 2}.items,
        "ordered keys": lambda: collections.OrderedDict(a=1).keys(),
        "memoryview": lambda: memoryview(b"abc"),
        "lock": threading.Lock,
        "reentrant lock": threading.RLock,
        "condition": threading.Condition,
        "event": threading.Event,
        "thread": lambda: threading.Thread(target=print),
        "thread local": threading.local,
        "queue": queue.Queue,
        "simple queue": queue.SimpleQueue,
        "future": concurrent.futures.Future,
        "context variable": lambda: contextvars.ContextVar("x"),
        "weak reference": lambda: weakref.ref(Plain(1)),
        "weak set": weakref.WeakSet,
        "weak dict": weakref.WeakValueDictionary,
        "weak keys": weakref.WeakKeyDictionary,
        "finalizer": lambda: weakref.finalize(Plain, print),
        "module": lambda: os,
        "made module": lambda: types.ModuleType("made"),
        "function with a made module": lambda: functools.partial(print, types.ModuleType("made")),
        "frame": sys._getframe,
        "bare object": object,
        "raised exception": with_traceback,
        "exception with a cause": with_cause,
        "counter with attributes": lambda: with_attribute(collections.Counter()),
        "date with attributes": lambda: with_attribute(DateWithMore(2024, 1, 1)),
        "logging handler": lambda: logging.StreamHandler(io.StringIO()),
    }.items()
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    "name, around",
    [
        (name, around)
        for name in UNSTORABLE
        for around in ("alone", "list", "object", "closure")
        if (name, around) != ("module", "closure")  # a function may use modules
    ],
)
def test_what_would_not_come_back_is_refused(name, around):
    case = UNSTORABLE[name]
    found = case.make()
    value = {"alone": found, "list": [found], "object": Plain(found), "closure": lambda: found}[around]
    try:
        with pytest.raises(NotStorable) as caught:
            encode(value)
    finally:
        case.close(found)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [io.BytesIO(b"abc"), io.StringIO("abc"), logging.getLogger("x"), logging.getLogger(), ValueError("x", 1)],
    ids=lambda value: type(value).__name__,
)
def test_what_looks_similar_but_comes_back(value):
    back = there_and_back(value)
    assert type(back) is type(value)
    if isinstance(value, logging.Logger):
        assert back is value


def test_a_position_in_memory_is_kept():
    stream = io.BytesIO(b"abc")
    stream.seek(1)
    assert there_and_back(stream).read() == b"bc"


def test_a_date_of_a_class_without_attributes():
    assert type(there_and_back(DateWithMore(2024, 1, 1))) is DateWithMore
    assert there_and_back(fractions.Fraction(1, 2**70_000)).denominator == 2**70_000


class Raises:
    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        raise self.error


@pytest.mark.parametrize("error", [ValueError("x\ny"), KeyError(), MemoryError(), StopIteration()])
def test_whatever_pickling_raises_is_not_storable(error):
    with pytest.raises(NotStorable) as caught:
        encode([Raises(error)])
    assert caught.value.__cause__ is error
    assert caught.value.type_name == "list"


def test_an_interrupt_is_not_swallowed():
    with pytest.raises(KeyboardInterrupt):
        encode(Raises(KeyboardInterrupt()))


def test_deep_values_do_not_end_in_a_recursion_error():
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(NotStorable):
        encode(value)


class Breaks:
    def __reduce__(self):
        return exit, (3,)


class Fails:
    def __reduce__(self):
        return int, ("x",)


@pytest.mark.parametrize("value", [Breaks(), Fails()], ids=["exits", "fails"])
def test_whatever_unpickling_raises_is_malformed(value):
    encoded = encode(value)
    with pytest.raises(MalformedObject):
        decode("pickle", encoded.head, [], trusted=True)


def test_a_class_that_is_gone_is_a_miss(monkeypatch):
    encoded = encode(Plain(1))
    monkeypatch.delattr(samples, "Plain")
    with pytest.raises(MalformedObject):
        decode("pickle", encoded.head, [], trusted=True)


def test_damaged_pickles():
    encoded = encode([Plain(1), np.zeros(LARGE)])
    buffers = [bytes(part) for part in encoded.buffers]
    for end in range(len(encoded.head)):
        with pytest.raises(MalformedObject):
            decode("pickle", encoded.head[:end], buffers, trusted=True)
    for wrong in ([], [b""] * 1000):
        with pytest.raises(MalformedObject):
            decode("pickle", encoded.head, wrong, trusted=True)


def test_nothing_is_unpickled_without_trust():
    encoded = encode(Breaks())
    with pytest.raises(UntrustedEntry):
        decode("pickle", encoded.head, encoded.buffers, trusted=False)


def test_a_view_is_a_head_too():
    encoded = encode([Plain(1), np.zeros(LARGE)])
    back = decode("pickle", memoryview(encoded.head), [bytes(part) for part in encoded.buffers], trusted=True)
    assert back[0].value == 1


def test_decoding_needs_no_cloudpickle(run):
    head = encode(MyDict(a=1)).head
    program = f"""
import sys
from scalable_cas.codecs import decode
assert decode("pickle", {head!r}, [], trusted=True) == {{"a": 1}}
print([name for name in ("cloudpickle", "numpy", "importlib.metadata") if name in sys.modules])
"""
    done = run("-c", program)
    assert done.stdout == "[]\n", done.stderr
    assert pickle.loads(head) == {"a": 1}
