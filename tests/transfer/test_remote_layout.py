"""The bytes of a remote's own files."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalable_cas.errors import MalformedObject, StoreVersionError
from scalable_cas.format import joined
from scalable_cas.format import remote_layout as layout
from scalable_cas.format import view_rows as rows
from scalable_cas.format.segment import ObjectPlace
from tests.conftest import ROOT

VECTORS = json.loads((ROOT / "fixtures/remote-v1.json").read_text())


def test_the_vectors_of_format_json_are_written_and_read():
    for vector in VECTORS["format"]:
        made = layout.RemoteFormat(bytes.fromhex(vector["id"]))
        assert made.pack().decode() == vector["file"]
        assert layout.unpack_format(made.pack(), "u").remote_id == made.remote_id


def test_the_vectors_of_names_are_made_and_taken_apart():
    names = VECTORS["names"]
    oid, name = names["pack"]
    assert layout.pack_name(bytes.fromhex(oid)) == name
    assert layout.pack_id(name).hex() == oid
    oid, name = names["big"]
    assert layout.big_name(bytes.fromhex(oid)) == name
    assert layout.big_id(name).hex() == oid
    created, number, name = names["segment"]
    assert layout.segment_name(created, bytes.fromhex(number)) == name
    assert layout.segment_number(name).hex() == number
    oid, name = names["joined"]
    assert layout.joined_name(bytes.fromhex(oid)) == name
    assert layout.joined_id(name).hex() == oid
    number, name = names["notice"]
    assert layout.notice_name(bytes.fromhex(number)) == name
    assert layout.is_notice(name)


def test_no_name_is_taken_for_one_of_another_form():
    names = [item[-1] for item in VECTORS["names"].values()]
    readers = (layout.pack_id, layout.big_id, layout.segment_number, layout.joined_id)
    for name in [*names, "segments/20000/notes.txt", "segments/", "packs/aa/XY.pack", "format.json"]:
        taken = [reader for reader in readers if reader(name) is not None]
        taken += [layout.is_notice] if layout.is_notice(name) else []
        assert len(taken) == (1 if name in names else 0), name


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format": 1}', b"\xff", b"null", b"[" * 100_000])
def test_what_is_no_format_json_is_refused(content):
    with pytest.raises(MalformedObject):
        layout.unpack_format(content, "u")


@given(st.data())
def test_a_flipped_bit_in_format_json_is_noticed(draw):
    content = bytearray(VECTORS["format"][0]["file"].encode())
    # a space may become another that JSON does not mind
    at = draw.draw(st.integers(0, len(content) - 1).filter(lambda at: content[at] not in b" \n"))
    content[at] ^= 1 << draw.draw(st.integers(0, 7))
    with pytest.raises((MalformedObject, StoreVersionError)):
        layout.unpack_format(bytes(content), "u")


def test_a_newer_format_and_an_unknown_feature_are_refused_by_name():
    content = json.loads(VECTORS["format"][0]["file"])

    def with_(change) -> bytes:
        fields = {name: value for name, value in content.items() if name != "check"} | change
        return json.dumps(fields | {"check": layout._check(fields)}).encode()

    with pytest.raises(StoreVersionError, match="format 2"):
        layout.unpack_format(with_({"format": 2}), "u")
    features = content["features"] | {"write": ["holograms"]}
    found = layout.unpack_format(with_({"features": features, "comment": "of a later version"}), "u")
    found.check("read", "u")
    with pytest.raises(StoreVersionError, match="holograms"):
        found.check("write", "u")


def test_the_vectors_of_notices_are_written_and_read():
    for vector in VECTORS["notice"]:
        packs, bigs = (frozenset(map(bytes.fromhex, vector[name])) for name in ("packs", "bigs"))
        assert layout.Notice(vector["phase"], vector["at"], packs, bigs).pack().decode() == vector["file"]
        found = layout.unpack_notice(vector["file"].encode())
        assert (found.phase, found.at, found.packs, found.bigs) == (
            vector["phase"],
            vector["at"],
            packs,
            bigs,
        )


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"phase": "x", "at": 1, "packs": [], "bigs": []}'])
def test_what_is_no_notice_is_refused(content):
    with pytest.raises(MalformedObject):
        layout.unpack_notice(content)


def test_the_vectors_of_joined_segments_are_written_and_read():
    for vector in VECTORS["joined"]:
        parts = {bytes.fromhex(n): bytes.fromhex(data) for n, data in vector["segments"].items()}
        data = joined.pack(parts)
        assert data.hex() == vector["file"]
        assert taken_apart(data) == parts


def taken_apart(data: bytes) -> dict[bytes, bytes]:
    table = joined.unpack_table(data, len(data))
    return {part.number: data[part.offset : part.offset + part.length] for part in table}


numbers = st.binary(min_size=16, max_size=16)


@given(st.dictionaries(numbers, st.binary(max_size=50), max_size=20))
def test_joined_segments_come_back_byte_for_byte_and_their_order_does_not_matter(parts):
    data = joined.pack(parts)
    assert taken_apart(data) == parts
    assert joined.pack(dict(reversed(parts.items()))) == data
    end = joined.HEAD_BYTES + joined.table_bytes(data[: joined.HEAD_BYTES], len(data))
    assert len(joined.unpack_table(data[:end], len(data))) == len(parts)


@given(st.dictionaries(numbers, st.binary(max_size=9), min_size=1, max_size=4), st.data())
def test_a_flipped_bit_in_head_or_table_of_joined_segments_is_noticed(parts, draw):
    data = bytearray(joined.pack(parts))
    end = joined.HEAD_BYTES + joined.table_bytes(bytes(data[: joined.HEAD_BYTES]), len(data))
    at = draw.draw(st.integers(0, end - 1))
    data[at] ^= 1 << draw.draw(st.integers(0, 7))
    with pytest.raises(MalformedObject):
        joined.unpack_table(bytes(data), len(data))


def test_joined_segments_of_another_length_are_refused():
    data = joined.pack({bytes(16): b"abc"})
    for wrong in (data[:-1], data + b"x", data[:70], data[:10], b""):
        with pytest.raises(MalformedObject):
            joined.unpack_table(wrong, len(wrong))


def place_at(oid: bytes, number: int, *, own: bool = False) -> ObjectPlace:
    holder = b"" if own else bytes([number]) * 32
    return ObjectPlace(oid, 1, 0, 10, holder, 0 if own else 64 * number, 74)


def test_of_an_objects_places_those_of_the_youngest_segments_come_first_and_few_are_kept():
    oid, row = b"o" * 32, b""
    for number in range(1, 13):
        row = rows.add_place(row, place_at(oid, number), created=number * 10)
    found = rows.places(oid, row)
    assert [place.holder[0] for place in found] == list(range(12, 12 - rows.MOST_PLACES, -1))
    assert found[0] == place_at(oid, 12)
    row = rows.add_place(row, place_at(oid, 9), created=1000)  # named again: it moves, and is there once
    assert [place.holder[0] for place in rows.places(oid, row)][:2] == [9, 12]
    assert rows.places(oid, rows.add_place(b"", place_at(oid, 1, own=True), 5)) == (
        place_at(oid, 1, own=True),
    )


def test_the_places_of_an_object_do_not_depend_on_the_order_in_which_segments_are_learned():
    oid = b"o" * 32
    said = [(place_at(oid, 1), 5), (place_at(oid, 2), 20), (place_at(oid, 1), 30), (place_at(oid, 3), 20)]
    found = set()
    for order in itertools.permutations(said):
        row = b""
        for place, created in order:
            row = rows.add_place(row, place, created)
        found.add(row)
    (row,) = found
    assert [place.holder[0] for place in rows.places(oid, row)] == [1, 2, 3]
    assert rows.add_place(row[:-1], place_at(oid, 4), 1) == rows.add_place(b"", place_at(oid, 4), 1)


def test_what_an_upload_holds_comes_back():
    found = [place_at(bytes([n]) * 32, 3) for n in range(5)]
    assert rows.unpack_places(rows.pack_places(found), bytes([3]) * 32) == tuple(found)
