"""How large content is cut, encoded and written by several threads at once."""

from __future__ import annotations

import io
import os
import random
import threading
from pathlib import Path

import pytest

from scalable_cas import Store
from scalable_cas.errors import StoreReadOnly
from scalable_cas.format import compression
from scalable_cas.format import header as encoded
from scalable_cas.format.kinds import BLOB, object_id
from scalable_cas.storage import cutting, fs, parallel
from tests.support.stores import leftovers

MB = 1 << 20


@pytest.fixture
def store(tmp_path):
    with Store.init(tmp_path / "store") as store:
        yield store


@pytest.mark.parametrize(
    ("sizes", "groups"), [([MB] * 5, 5), ([16 << 10] * 64, 2), ([MB, 1, 1, MB], 2), ([], 0)]
)
def test_pieces_are_shared_out_by_their_bytes(sizes, groups):
    pieces = [memoryview(bytes(size)) for size in sizes]
    found = cutting._together(range(len(sizes)), pieces)
    assert len(found) == groups
    assert [number for group in found for number in group] == list(range(len(sizes)))


def test_chunks_of_a_large_array_are_encoded_by_more_than_one_thread(store, monkeypatch):
    """Its chunks are of a megabyte, so that thirty of them at a time would be all that a window has."""
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    encode, meeting, together = encoded.encode_as, threading.Barrier(2), []

    def met(*args):
        if not together:  # two threads are in here at once, or this waits in vain
            together.append(meeting.wait(timeout=30))
        return encode(*args)

    monkeypatch.setattr(encoded, "encode_as", met)
    numbers = b"".join(n.to_bytes(8, "little") for n in range(40 * MB // 8))
    store.objects.put_all([(BLOB, object_id(BLOB, numbers), numbers, 8)], sync=False, least=1)
    assert together


@pytest.mark.parametrize("kind", ["raw", "compressed"])
def test_a_stream_whose_memory_is_used_again_comes_back(store, kind):
    """Chunks are written behind, and a raw chunk is a view of what it was cut from."""
    source = random.Random(1)
    content = (
        source.randbytes(60 * MB)
        if kind == "raw"
        else b"".join(b"%d," % source.randrange(10**9) for _ in range(6 * MB))
    )
    oid = store.put_stream(io.BytesIO(content))
    assert oid == object_id(BLOB, content)
    assert store.get_bytes(oid.hex()) == content


def test_memory_may_change_once_the_put_is_done(store):
    content = bytearray(os.urandom(40 * MB))
    whole = bytes(content)
    oid = store.put_bytes(content)
    content[:] = bytes(len(content))
    assert store.get_bytes(oid) == whole


def test_a_full_disk_leaves_no_open_file(store, monkeypatch):
    def full(self, parts, at=None):
        raise StoreReadOnly("there", "no space")

    content = os.urandom(4 * MB)
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(fs.Draft, "write", full)
    for _ in range(5):
        with pytest.raises(StoreReadOnly):
            store.put_bytes(content)
    assert len(os.listdir("/proc/self/fd")) == before
    assert leftovers(store.root) == []


@pytest.mark.parametrize(
    ("kind", "higher"), [("flags", True), ("source", True), ("csv", False), ("random", False)]
)
def test_a_higher_level_is_taken_where_it_gains(store, monkeypatch, kind, higher):
    rng = random.Random(1)
    content = {
        "flags": lambda: bytes(rng.randrange(2) for _ in range(4 * MB)),
        "source": lambda: b"".join(map(Path.read_bytes, sorted(Path(os.__file__).parent.glob("*.py"))[:80])),
        "csv": lambda: b"\n".join(b"%.4f,%.4f" % (rng.gauss(0, 1), rng.gauss(0, 1)) for _ in range(MB // 4)),
        "random": lambda: rng.randbytes(4 * MB),
    }[kind]()
    levels = set()

    def noted(content, filter_, level=compression.LEVEL):
        levels.add(level)
        return compress_as(content, filter_, level)

    compress_as = encoded.compress_as
    monkeypatch.setattr(encoded, "compress_as", noted)
    oid = store.put_bytes(content)
    assert levels == ({compression.HIGHER} if higher else set() if kind == "random" else {compression.LEVEL})
    assert store.get_bytes(oid) == content
