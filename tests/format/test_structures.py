"""format-v1 sections 3 to 7: the format file, value objects, records, journal frames, index rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalable_cas.errors import MalformedObject, StoreVersionError
from scalable_cas.format import journal, layout, numbering, record, rows, value
from scalable_cas.format.kinds import BLOB, LIST, VALUE

names = st.binary(min_size=32, max_size=32)
texts = st.text(max_size=30)
#: With lone surrogates too, as the names of scripts have them whose bytes are not UTF-8.
wild = st.text(st.characters(exclude_categories=()), max_size=30)
versions = st.none() | wild | st.integers(-(2**63), 2**63 - 1)
refs = st.builds(
    record.Record,
    names,
    st.binary(min_size=8, max_size=8),
    wild,
    codec=texts,
    kind=st.sampled_from([BLOB, VALUE]),
    oid=names,
    size=st.integers(0, 2**48),
    total=st.integers(0, 2**60),
    created=st.integers(0, 2**63),
    seconds=st.floats(0, 1e9),
    version=versions,
    parts=st.lists(st.tuples(st.sampled_from("avkc"), wild, names), max_size=4),
    sequence=st.integers(0, 2**40),
)
OUTLINES = st.lists(st.just([0, 1]) | st.just([1, "list", "", b"12345678"]), max_size=3)
FIELDS = [name for name in record.Record.__slots__ if name != "extra"]


def _fields(item):
    return {
        name: list(getattr(item, name)) if name in ("parts", "outlines") else getattr(item, name)
        for name in FIELDS
    }


@given(item=refs, outlines=OUTLINES, seed=st.just(b"") | st.binary(min_size=8, max_size=8))
def test_a_record_comes_back(item, outlines, seed):
    item.outlines, item.seed, item.packages = outlines, seed, {"python": "3.13.0"} if seed else {}
    again = record.unpack(item.pack())
    assert _fields(again) == _fields(item)
    assert again.rowkey == item.fnid + item.key


@given(item=refs)
def test_a_tombstone_comes_back(item):
    stone = record.unpack(record.tombstone(item.rowkey, item.function, created=5, sequence=7).pack())
    assert (stone.type, stone.rowkey, stone.created, stone.sequence) == (record.TOMBSTONE, item.rowkey, 5, 7)


@given(item=refs)
def test_fields_of_a_later_version_are_kept(item):
    item.extra = {record.KEY_ID: b"id", record.SIGNATURE: b"s", 99: [1, "x"]}
    assert record.unpack(record.unpack(item.pack()).pack()).extra == item.extra


@given(
    item=refs,
    name=st.sampled_from(["", "f" * 31, "f" * 32, "é" * 127, "f" * 256, "f" * 70_000]),
    many=st.booleans(),
    number=st.integers(0, 2**64 - 1),
)
def test_a_record_that_gets_its_number_later_is_the_same(item, name, many, number):
    item.function = name or item.function
    if many:  # more fields than the short form of a map has
        item.outlines, item.seed, item.packages, item.code, item.ttl = (
            [[0, 1]],
            b"8" * 8,
            {"a": "1"},
            ["x"],
            5,
        )
    packed = numbering.pack_unnumbered(item)
    item.sequence = number
    assert numbering.numbered(packed, numbering.pack_number(number)) == item.pack()


@given(junk=st.binary(max_size=300))
def test_junk_is_no_record_no_value_no_segment(junk):
    for read in (record.unpack, journal.unpack_segment_head):
        with pytest.raises(MalformedObject):
            read(junk)
    try:
        parsed = value.unpack(junk)
    except MalformedObject:
        return
    assert value.pack(parsed.codec, parsed.head, parsed.buffers)[:2] == junk[:2]


@given(item=refs, at=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_changed_record_is_malformed_or_another_record_never_an_error_of_a_library(item, at, flip):
    data = bytearray(item.pack())
    data[at % len(data)] ^= flip
    try:
        record.unpack(bytes(data))
    except MalformedObject:
        pass


@given(
    codec=st.text("abcxyz-_0", min_size=1, max_size=20),
    head=st.binary(max_size=100),
    buffers=st.lists(st.tuples(st.sampled_from([BLOB, LIST]), names, st.integers(0, 2**60)), max_size=4),
)
def test_a_value_object_comes_back(codec, head, buffers):
    packed = value.pack(codec, head, tuple(value.BufferRef(*item) for item in buffers))
    parsed = value.unpack(packed)
    assert (parsed.codec, bytes(parsed.head)) == (codec, head)
    assert [(item.kind, item.oid, item.size) for item in parsed.buffers] == buffers


def test_the_prefix_that_the_hit_path_compares_is_that_of_a_plain_value():
    assert value.pack("plain", b"rest") == value.PLAIN_PREFIX + b"rest"


def test_a_value_object_that_claims_too_many_buffers_is_refused():
    bad = bytes((1, 1)) + b"x" + (2**31).to_bytes(4, "little") + bytes(100)
    with pytest.raises(MalformedObject, match="buffers"):
        value.unpack(bad)


SECRET = bytes(range(32))


def _segment(bodies):
    head = journal.pack_segment_head(bytes(16), b"i" * 16, 123)
    return head + b"".join(journal.pack_frame(body, SECRET) for body in bodies)


def _read(data):
    found = list(journal.frames(data))
    return [frame.body for frame in found[:-1]], found[-1], sum(frame.skipped for frame in found[:-1])


@given(bodies=st.lists(st.binary(max_size=200), max_size=5))
def test_a_segment_comes_back(bodies):
    data = _segment(bodies)
    assert journal.unpack_segment_head(data) == (bytes(16), b"i" * 16, 123)
    assert _read(data) == (bodies, 0, 0)
    assert all(
        frame.tag == journal.frame_tag(frame.body, SECRET) for frame in list(journal.frames(data))[:-1]
    )


@given(bodies=st.lists(st.binary(min_size=1, max_size=60), min_size=3, max_size=5), data=st.data())
def test_damage_costs_the_frames_that_it_hits(bodies, data):
    whole = _segment(bodies)
    at = data.draw(st.integers(journal.SEGMENT_BYTES, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[at] ^= data.draw(st.integers(1, 255))
    found, rest, skipped = _read(bytes(damaged))
    assert len(found) == len(bodies) - 1
    lost = next(i for i, body in enumerate(bodies) if i == len(found) or found[i] != body)
    assert found == bodies[:lost] + bodies[lost + 1 :]
    assert rest + skipped > 0


@given(bodies=st.lists(st.binary(max_size=60), min_size=1, max_size=3), cut=st.integers(1, 40))
def test_a_torn_end_costs_the_last_frame_only(bodies, cut):
    whole = _segment(bodies)
    last = len(journal.pack_frame(bodies[-1], SECRET))
    found, rest, _ = _read(whole[: -min(cut, last - 1)])
    assert found == bodies[:-1]
    assert rest > 0


def test_a_frame_inside_a_body_is_not_taken_for_a_record():
    inner = journal.pack_frame(b"inner", SECRET)
    assert _read(_segment([inner, b"next"])) == ([inner, b"next"], 0, 0)


@given(
    rowkey=st.binary(min_size=40, max_size=40),
    inline=st.none() | st.binary(max_size=50),
    at=st.integers(0, 10_000),
    flip=st.integers(1, 255),
)
def test_a_flipped_bit_of_a_row_breaks_its_tag(rowkey, inline, at, flip):
    row = rows.pack_ref(
        rowkey,
        SECRET,
        flags=0,
        codec="plain",
        kind=VALUE,
        created=1,
        seconds=0.5,
        size=9,
        inode=3,
        changed=4,
        oid=bytes(32),
        inline=inline,
    )
    assert rows.ref_tag(rowkey, row[16:], SECRET) == row[:16]
    damaged = bytearray(row)
    damaged[at % len(row)] ^= flip
    assert rows.ref_tag(rowkey, bytes(damaged[16:]), SECRET) != damaged[:16]
    assert rows.ref_tag(rowkey[:-1] + bytes([rowkey[-1] ^ flip]), row[16:], SECRET) != row[:16]
    assert rows.REF.unpack_from(row)[1:4] == (rows.HAS_INLINE if inline is not None else 0, 1, VALUE)


def test_the_format_file_comes_back_and_a_newer_one_is_refused():
    made = layout.StoreFormat(bytes(range(16)))
    again = layout.unpack_format(made.pack(), "x")
    assert (again.store_id, again.features) == (made.store_id, made.features)
    spaced = made.pack().replace(b": 1", b":  1")  # written by another program: still JSON
    assert layout.unpack_format(spaced, "x").store_id == made.store_id
    with pytest.raises(StoreVersionError, match="format 2"):
        layout.unpack_format(made.pack().replace(b'"format": 1', b'"format": 2'), "x")
    for junk in (
        b"",
        b"{}",
        b"[]",
        made.pack()[:-5],
        made.pack().replace(b'"id": "00', b'"id": "zz'),
        b'{"format": true}',
    ):
        with pytest.raises(MalformedObject):
            layout.unpack_format(junk, "x")


def test_an_unknown_feature_refuses_its_operation_by_name():
    made = layout.StoreFormat(bytes(16), {"read": [], "write": [], "gc": ["shards"], "verify": []})
    again = layout.unpack_format(made.pack(), "x")
    again.check("read", "x")
    with pytest.raises(StoreVersionError, match="shards"):
        again.check("gc", "x")
