"""Bytes from elsewhere: no code of a class or module runs, nothing is imported."""

from __future__ import annotations

import contextlib
import enum
import sys
import zoneinfo
from dataclasses import dataclass

import msgpack
import pytest
from hypothesis import given

from scalable_cas.codecs import decode, encode, plain, tags
from scalable_cas.errors import MalformedObject, UntrustedEntry
from tests.codecs import samples
from tests.codecs.samples import Access, Child, Colour, Frozen, Point, Run, Thing, same
from tests.codecs.strategies import values


def mark(code):
    return msgpack.ExtType(code, b"")


def tagged(*parts):
    return bytes([tags.TAGGED]) + msgpack.packb(list(parts))


def described(kind, module, qualname, *lists):
    return [mark(tags.CLASS), kind, module, qualname, *lists]


def read(head, buffers=()):
    return plain.decode(head, buffers, trusted=False)


@given(values)
def test_what_is_plain_needs_no_trust(value):
    encoded = plain.encode(value)
    try:
        back = read(encoded.head, encoded.buffers)
    except UntrustedEntry as error:
        assert "hashing it would run its own code" in str(error)  # noqa: PT017  # the only reason there may be
    else:
        assert same(back, value)


def test_pickle_is_refused_before_it_is_looked_at():
    for head in (encode(len).head, b"", b"garbage"):
        with pytest.raises(UntrustedEntry):
            decode("pickle", head, [], trusted=False)


def test_a_module_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "not_loaded.py").write_text("import enum\nclass E(enum.Enum):\n    A = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    head = tagged(mark(tags.INSTANCE), described(0, "not_loaded", "E"), "A", 1)
    with pytest.raises(UntrustedEntry, match="not_loaded"):
        read(head)
    assert "not_loaded" not in sys.modules
    assert plain.unpack(head).value == 1


def test_nothing_is_imported_at_all(run):
    """In a fresh process only modules of the standard library's plain types appear."""
    program = f"""
import sys
from scalable_cas.codecs import plain
head = {plain.encode([(1, 2), {3}, {"a": bytearray(b"x")}]).head!r}
plain.decode(head, (), trusted=False)
before = set(sys.modules)
for module in ("antigravity", "this", "xml.dom", "os.path", ""):
    name = module.encode()
    start = b"\\xc1\\x93\\xc7\\x00\\x32\\x94\\xc7\\x00\\x31\\x00"
    head = start + bytes([0xa0 + len(name)]) + name + b"\\xa1E\\xa1A"
    try:
        plain.decode(head, (), trusted=False)
    except Exception as error:
        print(type(error).__name__)
print(sorted(set(sys.modules) - before))
"""
    done = run("-c", program)
    *errors, new = done.stdout.split("\n")[:-1]
    assert set(errors) <= {"UntrustedEntry", "MalformedObject"}
    assert len(errors) == 5
    assert new == "[]"


@pytest.mark.parametrize(
    "module, qualname",
    [
        ("os", "system"),
        ("subprocess", "Popen"),
        ("builtins", "eval"),
        ("builtins", "object"),
        ("tests.codecs.samples", "ran"),
        ("tests.codecs.samples", "Plain"),
        ("tests.codecs.samples", "OwnState"),
        ("tests.codecs.samples", "MyDict"),
        ("tests.codecs.samples", "Missing"),
        ("tests.codecs.samples", "Colour.__class__"),
        ("tests.codecs.samples", "Run.__post_init__"),
        ("enum", "Enum"),
    ],
)
@pytest.mark.parametrize("kind", [0, 1, 2, 3])
def test_other_things_are_no_classes_of_values(module, qualname, kind):
    lists = () if kind == 0 else ([],)
    with pytest.raises((MalformedObject, UntrustedEntry)):
        read(tagged(mark(tags.INSTANCE), described(kind, module, qualname, *lists), "x"))


class Trap:
    """What the traps below would do if they were run."""

    sprung = False

    @staticmethod
    def spring(*_args, **_kwargs):
        Trap.sprung = True
        raise AssertionError("code of a class ran")


@dataclass(init=False, repr=False, eq=False)
class Trapped:
    """Notices when anything that it defines is run."""

    a: int
    b: int

    locals().update(
        dict.fromkeys(
            (
                *(
                    "__init__",
                    "__post_init__",
                    "__setattr__",
                    "__getattribute__",
                    "__iter__",
                    "__len__",
                    "__index__",
                ),
                *(
                    "__hash__",
                    "__eq__",
                    "__ne__",
                    "__lt__",
                    "__gt__",
                    "__le__",
                    "__ge__",
                    "__repr__",
                    "__str__",
                ),
                *("__call__", "__getitem__", "__contains__", "__int__", "__float__", "__bytes__", "__bool__"),
                *("__buffer__", "__format__", "__delattr__", "keys", "items", "utcoffset", "__sizeof__"),
            ),
            Trap.spring,
        )
    )
    __class__ = property(Trap.spring)


@pytest.fixture
def trap():
    """What describes an instance of `Trapped`."""
    Trap.sprung = False
    return [mark(tags.INSTANCE), described(2, __name__, "Trapped", ["a", "b"]), 1, 2]


def again(first):
    """Another instance of a class that is described already."""
    return [first[0], 0, *first[2:]]


def test_no_code_of_a_class_runs_wherever_its_instance_stands(trap):
    other = again(trap)
    places = {
        "value": trap,
        "item": [trap, other],
        "key": [mark(tags.MAP), trap, 1, other, 2],
        "member": [mark(tags.SET), trap, other],
        "frozen member": [mark(tags.FROZENSET), trap, other],
        "inside a key": [mark(tags.MAP), [mark(tags.TUPLE), [mark(tags.TUPLE), trap]], 1],
        "slice key": [mark(tags.MAP), [mark(tags.SLICE), trap, None, None], 1],
        "native value": {"a": 1, "b": trap},
        "range": [mark(tags.RANGE), trap, other, other],
        "slice": [mark(tags.SLICE), trap, other, other],
        "fraction": [mark(tags.FRACTION), trap, other],
        "deque": [mark(tags.DEQUE), trap, 1, 2, 3],
        "factory": [mark(tags.DEFAULT_DICT), trap, {}],
        "array code": [mark(tags.ARRAY), trap, 8, b""],
        "array size": [mark(tags.ARRAY), "d", trap, b""],
        "array data": [mark(tags.ARRAY), "d", 8, trap],
        "bytearray": [mark(tags.BYTEARRAY), trap],
        "timezone": [mark(tags.TIMEZONE), trap],
        "aware": [mark(tags.AWARE), trap, other],
        "ordered": [mark(tags.ORDERED_DICT), trap],
        "counter": [mark(tags.COUNTER), {"a": trap}],
        "namespace": [mark(tags.NAMESPACE), trap],
        "proxy": [mark(tags.MAPPING_PROXY), trap],
        "class": [mark(tags.INSTANCE), [mark(tags.CLASS), trap, other, other, other], 1],
        "field names": [mark(tags.INSTANCE), described(2, "tests.codecs.samples", "Thing", [trap]), 1],
        "module": [mark(tags.INSTANCE), described(0, trap, "Colour"), "RED"],
        "member name": [mark(tags.INSTANCE), described(0, "tests.codecs.samples", "Colour"), trap],
        "member value": [mark(tags.INSTANCE), described(0, "tests.codecs.samples", "Colour"), "RED", trap],
        "flag value": [mark(tags.INSTANCE), described(0, "tests.codecs.samples", "Access"), None, trap],
        "number of a class": [mark(tags.INSTANCE), trap, 1],
    }
    read_whole = set()
    for name, tree in places.items():
        with contextlib.suppress(MalformedObject, UntrustedEntry):
            read(bytes([tags.TAGGED]) + msgpack.packb(tree))
            read_whole.add(name)
        assert not Trap.sprung, name
    assert read_whole == {"value", "item", "native value", "slice", "counter"}


def test_a_native_map_has_simple_keys_only():
    for key in (
        [mark(tags.TUPLE), 1],
        [mark(tags.INSTANCE), described(0, "tests.codecs.samples", "Colour"), "RED"],
    ):
        packer = msgpack.Packer(autoreset=False)
        packer.pack_map_header(1)
        packer.pack(key)
        packer.pack(1)
        head = bytes([tags.TAGGED]) + packer.bytes()
        with pytest.raises(MalformedObject):
            read(head)


def test_keys_whose_hash_is_the_interpreters_own_need_no_trust():
    value = {Colour.RED: 1, Point(1, 2): 2, (Access.READ, Point(0)): 3, frozenset({Colour.GREEN}): 4}
    assert same(read(encode(value).head), value)
    thing = Thing(1)  # compared by identity, so it has object's own hash
    (back,) = read(encode({thing}).head)
    assert back.value == 1


def test_keys_with_a_hash_of_their_own_need_trust():
    for value in ({Frozen(1): 1}, {(1, Frozen(2))}, {frozenset({Frozen(1)})}, {Point(Frozen(1)): 1}):
        head = encode(value).head
        assert same(plain.unpack(head), value)
        with pytest.raises(UntrustedEntry):
            read(head)
    assert same(read(encode([Frozen(1)]).head), [Frozen(1)])


def test_classes_with_a_finalizer_are_not_built(monkeypatch):
    head = encode(Thing(1)).head
    monkeypatch.setattr(Thing, "__del__", Trap.spring, raising=False)
    with pytest.raises(MalformedObject):
        read(head)


class Choosy(enum.Flag):
    A = 1
    B = 2

    @classmethod
    def _missing_(cls, value):
        return Trap.spring(value)


def test_flags_that_combine_by_their_own_code_need_trust():
    head = tagged(mark(tags.INSTANCE), described(0, __name__, "Choosy"), None, 3)
    with pytest.raises(UntrustedEntry):
        read(head)
    assert not Trap.sprung


def test_post_init_and_init_do_not_run():
    head = encode([Run("a"), Child("b")]).head
    samples.ran.clear()
    assert read(head)[0].name == "a"
    assert samples.ran == []


@pytest.mark.parametrize(
    "key", ["../../etc/passwd", "/etc/passwd", "Europe/../UTC", "a.b", "", "tzdata\0", "\u00e9"]
)
def test_a_time_zone_is_only_looked_for_where_zones_are(key):
    data = key.encode()
    head = bytes([tags.TAGGED]) + msgpack.packb(msgpack.ExtType(tags.ZONE, data))
    with pytest.raises(MalformedObject):
        read(head)


def test_a_time_zone_that_is_not_installed_is_a_miss():
    head = encode(zoneinfo.ZoneInfo("Europe/Paris")).head.replace(b"Paris", b"Pariz")
    with pytest.raises(MalformedObject):
        plain.unpack(head)


def test_messages_are_short_and_printable():
    head = tagged(mark(tags.INSTANCE), described(0, "\x1b[31m" * 1000, "E\n"), "A")
    with pytest.raises(UntrustedEntry) as caught:
        read(head)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
