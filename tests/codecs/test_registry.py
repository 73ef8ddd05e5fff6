from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scalable_cas.codecs import Encoded, base, decode, encode, register
from scalable_cas.errors import MalformedObject, NotStorable, UnknownCodec, UntrustedEntry
from tests.codecs.samples import Plain

ROOT = Path(__file__).resolve().parents[2]


class PlainCodec:
    """Stores `Plain` objects by their value."""

    def __init__(self, name="test.plain-objects", fails=None):
        self.name = name
        self.fails = fails

    def encode(self, value):
        if self.fails:
            raise self.fails
        return Encoded(self.name, b"head", (value.value,)) if type(value) is Plain else None

    def decode(self, head, buffers, *, trusted):
        if self.fails:
            raise self.fails
        assert head == b"head"
        return Plain((bytes(buffers[0]), trusted))


@pytest.fixture(autouse=True)
def _no_others(monkeypatch):
    monkeypatch.setattr(base, "_registered", {})


def test_a_codec_takes_what_it_knows_and_leaves_the_rest():
    register(PlainCodec())
    encoded = encode(Plain(b"abc"))
    assert encoded.codec == "test.plain-objects"
    back = decode(encoded.codec, encoded.head, encoded.buffers, trusted=False)
    assert back.value == (b"abc", False)
    assert encode([Plain(1)]).codec == "pickle"
    assert encode({"a": 1}).codec == "plain"


def test_an_unknown_codec():
    with pytest.raises(UnknownCodec) as caught:
        decode("test.plain-objects", b"", [], trusted=True)
    assert caught.value.name == "test.plain-objects"


@pytest.mark.parametrize(
    "name", ["", "plain", "pickle", "bytes", "str", "Upper", "a b", "a/b", "x" * 65, "\u00e4", "-"]
)
def test_names_that_are_taken_or_odd(name):
    with pytest.raises(ValueError, match="codec"):
        register(PlainCodec(name))


def test_a_name_is_given_once():
    codec = PlainCodec()
    register(codec)
    register(codec)
    with pytest.raises(ValueError, match="already"):
        register(PlainCodec())


def test_a_codec_that_runs_code_needs_trust():
    register(PlainCodec("test.pickle"))
    with pytest.raises(UntrustedEntry):
        decode("test.pickle", b"head", [b""], trusted=False)
    assert decode("test.pickle", b"head", [b""], trusted=True).value == (b"", True)


def test_failures_of_a_codec_are_translated():
    register(PlainCodec(fails=ZeroDivisionError("x")))
    with pytest.raises(NotStorable):
        encode(Plain(1))
    with pytest.raises(MalformedObject):
        decode("test.plain-objects", b"", [], trusted=True)


def test_failures_of_ours_pass():
    refusal = NotStorable("Plain", "no")
    register(PlainCodec(fails=refusal))
    with pytest.raises(NotStorable) as caught:
        encode(Plain(1))
    assert caught.value is refusal


def test_installed_packages_are_asked_only_when_needed(tmp_path):
    (tmp_path / "thing.py").write_text(
        "from scalable_cas.codecs import Encoded\n"
        "class Thing: pass\n"
        "class Codec:\n"
        "    name = 'thing'\n"
        "    def encode(self, value, /): return Encoded('thing', b'') if type(value) is Thing else None\n"
        "    def decode(self, head, buffers, /, *, trusted): return Thing()\n"
        "codec = Codec()\n"
    )
    for entry in ("codec", "Codec"):
        info = tmp_path / "thing-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[scalable_cas.codecs]\nthing = thing:{entry}\n")
        program = """
import sys
from scalable_cas.codecs import decode, encode
encode({"a": [1, (2,), "x"]}), encode(b"x"), encode("x")
print("importlib.metadata" in sys.modules, "thing" in sys.modules)
print(type(decode("thing", b"", [], trusted=False)).__name__)
import thing
print(encode(thing.Thing()).codec)
"""
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": f"{ROOT}:{tmp_path}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == "False False\nThing\nthing\n", done.stderr


def test_a_package_that_is_broken_costs_one_warning(tmp_path, run):
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[scalable_cas.codecs]\na = not_there\nb = builtins:int\n")
    program = """
import warnings
from scalable_cas.codecs import encode
from scalable_cas.errors import CacheWarning
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    print(encode([len]).codec, encode([len]).codec)
print([found.category is CacheWarning for found in caught], "ModuleNotFoundError" in str(caught[0].message))
"""
    done = run("-c", program, PYTHONPATH=f"{ROOT}:{tmp_path}")
    assert done.stdout == "pickle pickle\n[True] True\n", done.stderr


def test_a_codec_that_gives_another_name_is_refused():
    codec = PlainCodec()
    register(codec)
    codec.encode = lambda _value: Encoded("another", b"")
    with pytest.raises(NotStorable, match="another"):
        encode(Plain(1))
