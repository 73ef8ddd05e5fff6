"""The list of chunks, where cuts fall, and the byte-shuffle."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from zlib import crc32

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from scalable_cas.errors import MalformedObject
from scalable_cas.format import chunking, compression, header, kinds, shuffle

NOISE = random.Random(4).randbytes(3 << 20)
chunk = st.tuples(st.binary(min_size=32, max_size=32), st.integers(1, chunking.LARGEST_CHUNK))


@given(st.lists(chunk, max_size=50), st.integers(0, 255))
def test_a_list_comes_back(chunks, chunker):
    size = sum(length for _, length in chunks)
    again = chunking.unpack(chunking.ChunkList(chunker, size, chunks).pack(), size)
    assert (again.chunker, again.size, list(again.chunks)) == (chunker, size, chunks)


@given(st.binary(max_size=300))
def test_junk_is_no_list(junk):
    with pytest.raises(MalformedObject):
        chunking.unpack(junk, len(junk))


@given(st.lists(chunk, min_size=1, max_size=5), st.data())
def test_a_flipped_bit_of_a_list_is_seen(chunks, data):
    size = sum(length for _, length in chunks)
    packed = bytearray(chunking.ChunkList(1, size, chunks).pack())
    at = data.draw(st.integers(0, len(packed) * 8 - 1))
    packed[at // 8] ^= 1 << at % 8
    with pytest.raises(MalformedObject):
        chunking.unpack(packed, size)


def _sealed(chunks, size):
    return chunking.ChunkList(0, size, chunks).pack()


@pytest.mark.parametrize(
    "chunks, size",
    [
        ([(bytes(32), 5)], 6),
        ([(bytes(32), 0), (bytes(32), 5)], 5),
        ([(bytes(32), chunking.LARGEST_CHUNK + 1)], chunking.LARGEST_CHUNK + 1),
    ],
)
def test_lengths_that_do_not_add_up_or_are_out_of_bounds_are_refused(chunks, size):
    with pytest.raises(MalformedObject):
        chunking.unpack(_sealed(chunks, size), size)


def test_another_size_or_version_is_refused():
    packed = _sealed([(bytes(32), 5)], 5)
    with pytest.raises(MalformedObject, match="agree"):
        chunking.unpack(packed, 6)
    newer = b"\x02" + packed[1:-4]
    with pytest.raises(MalformedObject, match="version 2"):
        chunking.unpack(newer + crc32(newer).to_bytes(4, "little"), 5)


def pieces(content, item=1, offset=0, window=1 << 20):
    """The chunks of a content that is cut window by window, as a stream is."""
    found, at = [], 0
    while at < len(content):
        view = memoryview(content)[at : at + window]
        _, ends = chunking.cuts(view, offset + at, item, last=at + window >= len(content))
        found += [bytes(view[a:b]) for a, b in zip([0, *ends], ends, strict=False)]
        at += ends[-1]
    return found


@pytest.mark.parametrize("item", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("cut_short", [0, 3])
def test_cuts_cover_everything_and_hold_whole_items(item, cut_short):
    content = NOISE[: len(NOISE) - cut_short]
    found = pieces(content, item)
    assert b"".join(found) == content
    assert all(len(piece) % item == 0 for piece in found[:-1])
    assert 20 << 10 < len(content) / len(found) < 60 << 10


def test_bytes_put_in_the_middle_change_two_or_three_chunks():
    before = pieces(NOISE)
    after = pieces(NOISE[: 1 << 20] + b"something new" + NOISE[1 << 20 :])
    assert len(set(after) - set(before)) <= 3


def test_numbers_put_in_the_middle_change_two_or_three_chunks_of_numbers():
    before = pieces(NOISE, 8)
    after = pieces(NOISE[: 1 << 20] + b"8 bytes." * 100 + NOISE[1 << 20 :], 8)
    assert len(set(after) - set(before)) <= 3


def test_where_a_stream_is_read_in_pieces_does_not_matter():
    assert pieces(NOISE, window=700_000) == pieces(NOISE, window=1 << 22)


def test_chunks_grow_with_the_place_in_the_blob_so_that_lists_stay_short():
    sizes = [chunking.average_at(at) for at in (0, (64 << 20) - 1, 64 << 20, 1 << 30, 100 << 30)]
    assert sizes == [32 << 10, 32 << 10, 256 << 10, 1 << 20, 4 << 20]
    whole = 100 << 30
    count, before = 0, 0
    for limit, average in chunking.AVERAGES:
        count += (min(whole, limit) - before) // average
        before = min(whole, limit)
    assert count * 36 < 4 << 20


def test_without_the_extension_cuts_have_a_fixed_size(monkeypatch):
    monkeypatch.setattr(chunking, "_fast", None)
    monkeypatch.setitem(sys.modules, "pyfastcdc", None)
    monkeypatch.setitem(sys.modules, "pyfastcdc.cy", None)
    chunker, ends = chunking.cuts(memoryview(NOISE)[:100_000], 0, 1, last=True)
    assert (chunker, ends) == (chunking.FIXED, [32768, 65536, 98304, 100_000])


VECTORS = json.loads((Path(__file__).parents[2] / "fixtures/chunks-v1.json").read_text())


@pytest.mark.parametrize("vector", VECTORS["lists"], ids=str)
def test_vectors_of_lists(vector):
    data, parts = bytes.fromhex(vector["object"]), [part.encode() for part in vector["chunks"]]
    head = header.unpack(data)
    whole = b"".join(parts)
    assert (head.kind, head.coding, head.raw_size) == (kinds.BLOB, header.CHUNKED, len(whole))
    assert head.oid == blake3(whole).digest()
    found = chunking.unpack(data[64:], head.raw_size)
    assert found.chunker == vector["chunker"]
    assert list(found.chunks) == [(blake3(part).digest(), len(part)) for part in parts]
    assert data == head.pack() + found.pack()


@pytest.mark.parametrize("vector", VECTORS["shuffled"], ids=str)
def test_vectors_of_the_shuffle(vector):
    content, mixed = bytes.fromhex(vector["content"]), bytes.fromhex(vector["shuffled"])
    assert shuffle.shuffle(content, vector["item"]) == mixed
    back = bytearray(len(content))
    shuffle.unshuffle_into(mixed, vector["item"], memoryview(back))
    assert back == content


# --- shuffle ------------------------------------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["numpy", "no numpy"])
def with_numpy(request, monkeypatch):
    if request.param:
        pass
    else:
        monkeypatch.setitem(sys.modules, "numpy", None)


@pytest.mark.parametrize("item", shuffle.ITEMS)
@pytest.mark.parametrize("length", [0, 1, 7, 16, 1000, 65_537])
def test_what_is_shuffled_comes_back_with_numpy_and_without(item, length, with_numpy):
    content = NOISE[:length]
    mixed = shuffle.shuffle(content, item)
    whole = length - length % item
    assert mixed == b"".join(content[:whole][at::item] for at in range(item)) + content[whole:]
    back = bytearray(length)
    shuffle.unshuffle_into(mixed, item, memoryview(back))
    assert back == content


def numbers(count):
    """Smooth doubles."""
    from array import array
    from math import sin

    return array("d", (sin(i / 1000) for i in range(count))).tobytes()


@pytest.mark.parametrize("size", [32_768, 100_000, 1 << 20])
def test_smooth_numbers_are_shuffled_and_come_back(size, with_numpy):
    content = numbers(size // 8)
    oid = kinds.object_id(kinds.BLOB, content)
    head, payload = header.encode(kinds.BLOB, oid, content, 8)
    assert (head.coding, head.filter) == (header.ZSTD, 8)
    assert len(payload) < 0.82 * len(content)
    again = header.unpack(head.pack())
    assert again.filter == 8
    assert bytes(header.decode(again, payload)) == content
    target = bytearray(len(content))
    header.decode_into(again, payload, memoryview(target))
    assert target == content
    import io

    assert b"".join(header.decode_stream(again, io.BytesIO(payload))) == content


def test_random_doubles_stay_raw_though_their_exponents_would_shrink():
    from array import array

    draw = random.Random(5)
    content = array("d", (draw.random() for _ in range(1 << 17))).tobytes()
    assert len(compression.compress_as(content, 8)) < 0.9 * len(content)
    assert compression.plan(content, 8) is None


def test_text_is_not_shuffled():
    assert compression.plan(b"temperature,pressure\n" * 50_000) == 0
    assert compression.plan(b"temperature,pressure\n" * 50_000, 1) == 0


def test_a_filter_belongs_to_a_frame_and_chunks_to_a_blob():
    def packed(kind, coding, filter_):
        return header.Header(kind, coding, filter_, 3, 3, bytes(32)).pack()

    for kind, coding, filter_ in [(1, header.ZSTD, 8), (4, header.ZSTD, 2), (1, header.CHUNKED, 0)]:
        header.unpack(packed(kind, coding, filter_))
    for kind, coding, filter_ in [(1, header.RAW, 8), (1, header.ZSTD, 3), (4, header.CHUNKED, 0), (1, 3, 4)]:
        with pytest.raises(MalformedObject, match="not known"):
            header.unpack(packed(kind, coding, filter_))


def test_a_list_of_chunks_is_not_taken_for_content():
    listed = chunking.ChunkList(0, 5, [(bytes(32), 5)]).pack()
    head = header.Header(kinds.BLOB, header.CHUNKED, 0, 5, len(listed), bytes(32))
    with pytest.raises(MalformedObject, match="chunks"):
        header.decode(head, listed)
    with pytest.raises(MalformedObject, match="chunks"):
        header.decode_into(head, listed, memoryview(bytearray(5)))
