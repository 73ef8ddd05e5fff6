"""The bytes of docs/reference/values-v1.md never change."""

from __future__ import annotations

import array
import collections
import datetime as dt
import decimal
import difflib
import fractions
import json
import pathlib
import pstats
import re
import struct
import types
import uuid
import zoneinfo

import pytest

from scalable_cas.codecs import decode, encode, lifting, plain, tags
from scalable_cas.codecs.lowering import MAX_DEPTH
from scalable_cas.errors import MalformedObject
from tests.codecs.samples import same

ROOT = pathlib.Path(__file__).resolve().parents[2]
VECTORS = json.loads((ROOT / "fixtures" / "values-v1.json").read_text())
LIBRARIES = json.loads((ROOT / "fixtures" / "values-libraries-v1.json").read_text())
PAGE = (ROOT / "docs" / "reference" / "values-v1.md").read_text()
NAMES = {
    **{module.__name__: module for module in (array, collections, decimal, difflib, fractions, pathlib)},
    **{module.__name__: module for module in (pstats, re, struct, types, uuid, zoneinfo)},
    "dt": dt,
}


def buffer(given):
    return bytes.fromhex(given) if isinstance(given, str) else bytes.fromhex(given["fill"]) * given["length"]


@pytest.mark.parametrize("vector", VECTORS["values"], ids=lambda vector: vector["name"])
def test_values(vector):
    value = eval(vector["value"], dict(NAMES))
    buffers = [buffer(given) for given in vector["buffers"]]
    encoded = encode(value)
    assert (encoded.codec, encoded.head.hex(), list(encoded.buffers)) == (
        vector["codec"],
        vector["head"],
        buffers,
    )
    for trusted in (True, False):
        assert same(decode(vector["codec"], bytes.fromhex(vector["head"]), buffers, trusted=trusted), value)


@pytest.mark.parametrize("vector", VECTORS["malformed"], ids=lambda vector: vector["name"])
def test_malformed(vector):
    for trusted in (True, False):
        with pytest.raises(MalformedObject):
            plain.decode(bytes.fromhex(vector["head"]), (), trusted=trusted)
    with pytest.raises(MalformedObject):
        plain.unpack(bytes.fromhex(vector["head"]))


CODES = {
    name: code
    for name, code in vars(tags).items()
    if name.isupper() and type(code) is int and name != "TAGGED"
}


@pytest.mark.parametrize("name", CODES)
def test_every_tag_has_a_vector_and_a_line_in_the_page(name):
    code = CODES[name]
    heads = "".join(vector["head"] for vector in VECTORS["values"] + LIBRARIES["values"])
    assert re.search(f"(c7..|d[4-8]){code:02x}", heads)
    assert f"\n| {code} |" in PAGE


def test_no_tag_is_given_twice():
    assert len(set(CODES.values())) == len(CODES)
    assert set(lifting._LEAVES) | set(lifting._MARKS) == set(CODES.values())


def test_the_page_states_the_numbers_of_the_code():
    assert f"{MAX_DEPTH} containers" in PAGE
    assert "65,536 bytes" in PAGE
    examples = re.findall(r"`((?:[0-9a-f]{2} ?)+)` is `([^`]+)`", PAGE)
    assert len(examples) == 3
    for head, value in examples:
        assert encode(eval(value, dict(NAMES))).head == bytes.fromhex(head)
