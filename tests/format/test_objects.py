"""format-v1 sections 1 and 2: names and encoded objects."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from pathlib import Path
from zlib import crc32

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from scalable_cas.errors import MalformedObject
from scalable_cas.format import compression, header, kinds

PAGE = Path(__file__).parents[2] / "docs/reference/format-v1.md"


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 100_000, 3 << 20])
def test_a_blob_is_named_by_plain_blake3_whatever_the_number_of_threads(size):
    content = random.Random(size).randbytes(size)
    assert kinds.object_id(kinds.BLOB, content) == blake3(content).digest()
    assert kinds.object_id(kinds.BLOB, content, threads=2) == blake3(content).digest()
    running = kinds.hasher(kinds.VALUE)
    running.update(content)
    assert running.digest() == kinds.object_id(kinds.VALUE, content, threads=2)


def test_no_kind_can_pass_for_another():
    names = {kinds.object_id(kind, b"same bytes") for kind in kinds.KIND_NAMES}
    assert len(names) == len(kinds.KIND_NAMES)


def test_the_keys_printed_in_the_specification_are_the_ones_in_use():
    text = PAGE.read_text()
    for kind, key in kinds.KIND_KEYS.items():
        assert f"| {kinds.KIND_NAMES[kind]} | `{key.hex()}` |" in text


def test_the_hexdump_in_the_specification_is_an_object():
    block = re.search(r"```text\n(0000.*?)```", PAGE.read_text(), re.DOTALL).group(1)
    data = b"".join(
        bytes.fromhex(re.match(r"([0-9a-f]{4})  ((?:[0-9a-f]{2} ?)+)", line).group(2))
        for line in block.splitlines()
    )
    head = header.unpack(data)
    content = header.decode(head, data[header.HEADER_BYTES :])
    assert content == b"hello, hello, hello"
    assert head.oid == kinds.object_id(kinds.BLOB, content)
    written, payload = header.encode(kinds.BLOB, head.oid, content)
    assert written.pack() + payload == data


contents = st.one_of(
    st.binary(max_size=2000), st.binary(max_size=20).map(lambda b: b * 200), st.just(bytes(200_000))
)


@given(content=contents, kind=st.sampled_from(sorted(kinds.KIND_NAMES)))
def test_what_is_encoded_comes_back(content, kind):
    oid = kinds.object_id(kind, content)
    head, payload = header.encode(kind, oid, content)
    packed = head.pack()
    assert len(packed) == header.HEADER_BYTES
    again = header.unpack(packed)
    assert (again.kind, again.oid, again.raw_size, again.stored_size) == (
        kind,
        oid,
        len(content),
        len(payload),
    )
    assert bytes(header.decode(again, payload)) == content


@given(content=contents, data=st.data())
def test_any_flipped_bit_of_the_header_is_noticed(content, data):
    head, _ = header.encode(kinds.BLOB, kinds.object_id(kinds.BLOB, content), content)
    packed = bytearray(head.pack())
    bit = data.draw(st.integers(0, len(packed) * 8 - 1))
    packed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(MalformedObject):
        header.unpack(packed)


@given(junk=st.binary(max_size=200))
def test_junk_raises_only_malformed_object(junk):
    with pytest.raises(MalformedObject):
        header.unpack(junk)
    with pytest.raises(MalformedObject):
        compression.decompress(junk, 100)


def _resealed(packed: bytes, at: int, value: int) -> bytes:
    changed = bytearray(packed)
    changed[at] = value
    changed[60:] = crc32(changed[8:60]).to_bytes(4, "little")
    return bytes(changed)


@pytest.mark.parametrize(("at", "value"), [(10, 2), (11, 9), (12, 2), (12, 7), (13, 4), (14, 0x10)])
def test_what_this_version_does_not_know_is_refused(at, value):
    packed = header.Header(kinds.BLOB, header.RAW, 0, 3, 3, bytes(32)).pack()
    with pytest.raises(MalformedObject, match="not known"):
        header.unpack(_resealed(packed, at, value))


def test_a_flag_of_the_low_nibble_may_be_ignored():
    packed = header.Header(kinds.BLOB, header.RAW, 0, 3, 3, bytes(32)).pack()
    assert header.unpack(_resealed(packed, 14, 0x01)).raw_size == 3


def test_compression_is_used_where_it_gains_and_only_there():
    noise = random.Random(1).randbytes(1 << 20)
    assert compression.compress(noise) is None
    assert compression.compress(b"x" * 100) is None
    packed = compression.compress(b"temperature,pressure\n" * 50_000)
    assert len(packed) < 50_000
    half = noise[: 1 << 19] + bytes(1 << 19)  # one sample at the start would say that nothing is to be gained
    assert compression.compress(half) is not None


@pytest.mark.parametrize("change", ["longer", "shorter", "second frame", "other size"])
def test_a_payload_is_exactly_one_frame_of_the_promised_size(change):
    content = b"abcdefgh" * 1000
    frame = compression.compress(content)
    bad, size = {
        "longer": (frame + b"\0", len(content)),
        "shorter": (frame[:-1], len(content)),
        "second frame": (frame + frame, len(content)),
        "other size": (frame, len(content) - 1),
    }[change]
    with pytest.raises(MalformedObject):
        compression.decompress(bad, size)
    assert compression.decompress(frame, len(content)) == content


@pytest.mark.parametrize("size", [0, 1, 512, 128 << 10, (128 << 10) + 1, 64 << 20])
def test_frames_that_shrink_as_far_as_can_be(size):
    frame = __import__("zstandard").ZstdCompressor().compress(bytes(size))
    assert compression.decompress(frame, size) == bytes(size)
    with pytest.raises(MalformedObject):
        compression.decompress(frame + b"\0", size)


def test_a_frame_that_claims_more_than_any_can_hold_takes_no_memory():
    frame = bytearray(__import__("zstandard").ZstdCompressor().compress(bytes(1 << 33 >> 10)))
    at = frame.index((1 << 33 >> 10).to_bytes(4, "little"))  # its declared size, of four bytes
    frame[at : at + 4] = b"\xff" * 4
    with pytest.raises(MalformedObject, match="more than any"):
        compression.decompress(bytes(frame), (1 << 32) - 1)


def test_a_frame_that_claims_a_gigabyte_is_refused_before_it_is_unpacked():
    bomb = __import__("zstandard").ZstdCompressor().compress(bytes(64 << 20))
    with pytest.raises(MalformedObject, match="declares"):
        compression.decompress(bomb, 1000)


@pytest.mark.skipif(shutil.which("zstd") is None, reason="the zstd command is not installed")
def test_the_zstd_command_decodes_a_compressed_object():
    content = b"one line of text\n" * 5000
    head, payload = header.encode(kinds.BLOB, kinds.object_id(kinds.BLOB, content), content)
    done = subprocess.run(["zstd", "-dc"], input=head.pack() + payload, capture_output=True, check=True)
    assert done.stdout == content


def test_a_zstd_stream_decoder_steps_over_the_header():
    zstandard = pytest.importorskip("zstandard")
    content = b"one line of text\n" * 5000
    head, payload = header.encode(kinds.BLOB, kinds.object_id(kinds.BLOB, content), content)
    reader = zstandard.ZstdDecompressor().stream_reader(head.pack() + payload, read_across_frames=True)
    assert reader.read() == content
