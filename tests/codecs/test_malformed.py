"""Damaged and invented bytes: an error of ours or a plain value, nothing else, and little memory."""

from __future__ import annotations

import tracemalloc

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scalable_cas.codecs import decode, encode, plain, tags
from scalable_cas.codecs.lifting import Mark
from scalable_cas.errors import MalformedObject, UnknownCodec, UntrustedEntry
from tests.codecs.strategies import values

KNOWN = (MalformedObject, UntrustedEntry)

SAMPLES = (
    *([], {}, 1, "x", b"", [1, [2, {"a": None}]]),
    *((1, 2), {1, 2}, {(1,): 2}, range(3), 2**70, 1j),
)

trees = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["tests.codecs.samples", "Run", "Colour", "RED", "name", "values", "d", "list"])
    | st.binary(max_size=8)
    | st.builds(msgpack.ExtType, st.integers(0, 60), st.binary(max_size=20))
    | st.builds(msgpack.ExtType, st.integers(tags.TUPLE, tags.INSTANCE), st.just(b"")),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(max_size=3) | st.integers(-5, 5) | st.binary(max_size=3), inner, max_size=3)
        | st.builds(
            lambda code, items: [msgpack.ExtType(code, b""), *items],
            st.integers(tags.TUPLE, tags.INSTANCE),
            st.lists(inner, max_size=5),
        )
    ),
    max_leaves=12,
)


def check(head, buffers=()):
    """Decode in every way; nothing but our own errors may come out."""
    for trusted in (True, False):
        try:
            value = decode("plain", head, buffers, trusted=trusted)
        except KNOWN:
            continue
        assert_no_marks(value)
        plain.encode(value)
    try:
        plain.unpack(head)
    except MalformedObject:
        pass


def assert_no_marks(value):
    """Nothing of the decoder's own is in a value."""
    assert type(value) is not Mark
    assert not type(value).__module__.startswith("scalable_cas")
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            assert_no_marks(item)


@given(st.binary(max_size=200))
@example(b"")
@example(bytes([tags.TAGGED]))
@example(bytes([tags.TAGGED, tags.TAGGED]))
def test_random_bytes(data):
    check(data)
    check(bytes([tags.TAGGED]) + data)


@given(trees)
def test_invented_trees(tree):
    check(bytes([tags.TAGGED]) + msgpack.packb(tree))


@given(values, st.data())
def test_mutated_values(value, data):
    encoded = plain.encode(value)
    head = bytearray(encoded.head)
    for _ in range(data.draw(st.integers(1, 3))):
        if not head:
            break
        at = data.draw(st.integers(0, len(head) - 1))
        match data.draw(st.sampled_from(["flip", "set", "cut", "insert", "double"])):
            case "flip":
                head[at] ^= 1 << data.draw(st.integers(0, 7))
            case "set":
                head[at] = data.draw(st.integers(0, 255))
            case "cut":
                del head[at:]
            case "insert":
                head.insert(at, data.draw(st.integers(0, 255)))
            case "double":
                head[at:at] = head[at : at + 8]
    check(bytes(head), encoded.buffers)


@pytest.mark.parametrize("value", SAMPLES, ids=str)
def test_every_truncation_and_trailing_byte(value):
    head = encode([value]).head
    for end in range(len(head)):
        with pytest.raises(MalformedObject):
            plain.unpack(head[:end])
    with pytest.raises(MalformedObject):
        plain.unpack(head + b"\x00")


@pytest.mark.parametrize(
    "tree",
    [
        msgpack.ExtType(tags.TUPLE, b""),
        [1, msgpack.ExtType(tags.TUPLE, b"")],
        [msgpack.ExtType(tags.TUPLE, b""), msgpack.ExtType(tags.TUPLE, b"")],
        {"a": msgpack.ExtType(tags.SET, b"")},
        [msgpack.ExtType(tags.CLASS, b""), 0, "tests.codecs.samples", "Colour"],
        [msgpack.ExtType(tags.INSTANCE, b""), 0, "RED"],
        [msgpack.ExtType(tags.TUPLE, b"x"), 1],
        msgpack.ExtType(127, b""),
        msgpack.ExtType(tags.DATE, b"\x00\x00\x00\x00"),
        msgpack.ExtType(tags.DECIMAL, b" 1"),
        msgpack.ExtType(tags.UUID, b"x" * 15),
        msgpack.ExtType(tags.PATH, b"\x09a"),
        msgpack.ExtType(tags.BUFFER, b"\x00\x00\x00\x00"),
        [msgpack.ExtType(tags.SET, b""), 1, 1],
        [msgpack.ExtType(tags.MAP, b""), 1],
        [msgpack.ExtType(tags.MAP, b""), 1, 2, 1, 3],
        [msgpack.ExtType(tags.DEQUE, b""), 1, 2, 3],
        [msgpack.ExtType(tags.DEFAULT_DICT, b""), "eval", {}],
        [msgpack.ExtType(tags.FRACTION, b""), 1, 0],
        [msgpack.ExtType(tags.SET, b""), []],
    ],
    ids=str,
)
def test_what_the_encoder_never_writes(tree):
    head = bytes([tags.TAGGED]) + msgpack.packb(tree)
    for trusted in (True, False):
        with pytest.raises(MalformedObject):
            plain.decode(head, (), trusted=trusted)


def test_foreign_extras_of_msgpack():
    stamp = msgpack.packb(msgpack.Timestamp(1))
    for head in (
        stamp,
        b"\x91" + stamp,
        b"\x81\xa1a" + stamp,
        b"\x81\xa1a\x01\xa1b" + stamp,
        b"\x82\x01\x01\x01\x02",
    ):
        with pytest.raises(MalformedObject):
            plain.decode(head, (), trusted=False)


def test_nesting_is_bounded():
    for levels in (600, 2000, 1_000_000):
        for opener in (b"\x91", b"\x81\x01", b"\x92\xc7\x00" + bytes([tags.TUPLE])):
            for closer in (b"", b"\x01"):
                check(bytes([tags.TAGGED]) + opener * levels + closer)
                check(opener * levels + closer)


def test_declared_sizes_take_no_memory():
    tracemalloc.start()
    try:
        for head in (
            b"\xdd\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff",
            b"\xdb\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            b"\xc9\xff\xff\xff\xff\x01",
            bytes([tags.TAGGED]) + msgpack.packb([msgpack.ExtType(tags.RANGE, b""), 0, 2**63, 1]),
        ):
            check(head)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_nested_declared_sizes_take_no_memory(run):
    """Each level may declare as many items as there are bytes: 500 levels over 1 MB are 4 GB of pointers."""
    program = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, ({1 << 30}, {1 << 30}))
from scalable_cas.codecs import plain
from scalable_cas.errors import MalformedObject
head = b"\\xc1" + b"\\xdd\\x00\\x0f\\x00\\x00" * 500 + bytes(1 << 20)
for trusted in (True, False):
    try:
        plain.decode(head, (), trusted=trusted)
    except MalformedObject:
        print("malformed")
# not ru_maxrss, which a process inherits from the one that started it
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
    done = run("-c", program)
    assert done.stdout.split()[:2] == ["malformed", "malformed"], done.stderr
    assert int(done.stdout.split()[2]) < 300 * 1024  # KiB


def test_deep_values_need_little_stack(run):
    """A thread with a small stack decodes the deepest value that can be stored."""
    program = """
import threading
from scalable_cas.codecs import encode, plain
value = ()
for _ in range(150):
    value = (value, {1: frozenset({2})})
head = encode(value).head
threading.stack_size(256 * 1024)
done = []
thread = threading.Thread(target=lambda: done.append(plain.unpack(head)))
thread.start()
thread.join()
print(done[0] == value)
"""
    done = run("-c", program)
    assert done.stdout == "True\n", done.stderr


def test_unknown_codec():
    with pytest.raises(UnknownCodec):
        decode("nobody", b"", [], trusted=True)
