"""Blobs in chunks that come from elsewhere: the list gets the blob's name only once its chunks prove it."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from scalable_cas.format import header
from scalable_cas.format.chunking import unpack as unpack_list
from scalable_cas.format.record import unpack
from scalable_cas.ops.bundle_check import check_bundle
from scalable_cas.ops.bundling import plan_bundle, write_bundle
from scalable_cas.ops.closure import children
from scalable_cas.store.ingest import Arrivals, ingest
from tests.support.stores import assert_whole

from .conftest import read, save, sent, take

LARGE = np.random.default_rng(2).integers(0, 255, 3 << 20, dtype=np.uint8).tobytes()


@pytest.fixture
def cargo(alice):
    with alice.open() as store:
        save(store, LARGE)
        return sent(store)


def lists(cargo):
    return [(oid, data) for oid, data in cargo.objects if header.unpack(data).coding == header.CHUNKED]


def test_a_blob_in_chunks_comes_in_whichever_comes_first(alice, bob, cargo):
    assert len(cargo.objects) > 10
    assert len(lists(cargo)) == 1
    for order in (cargo.objects, cargo.objects[::-1]):
        cargo.objects = order
        with bob.open() as store:
            store.forget([unpack(cargo.records[0]).rowkey])
            assert take(store, cargo, alice.origin).new == 1
            assert read(store) == LARGE
    assert_whole(bob.path)


def test_a_list_that_makes_up_something_else_gets_no_name(bob, alice, cargo):
    (oid, data), *_ = lists(cargo)
    listed = unpack_list(data[header.HEADER_BYTES :], len(LARGE))
    chunks = list(listed.chunks)
    same = next(n for n in range(1, len(chunks)) if chunks[n] != chunks[0])
    chunks[0], chunks[same] = chunks[same], chunks[0]
    listed.chunks = chunks
    payload = listed.pack()
    forged = header.Header(1, header.CHUNKED, 0, len(LARGE), len(payload), oid).pack() + payload
    with bob.open() as store:
        cargo.objects = [(name, forged if name == oid else item) for name, item in cargo.objects]
        done = take(store, cargo, alice.origin)
        assert (done.new, len(done.incomplete)) == (0, 1)
        assert store.objects.place(oid) is None
        save(store, LARGE, b"2" * 32)  # the blob stored by its owner is whole
        assert read(store, b"2" * 32) == LARGE
    assert_whole(bob.path)


def test_a_list_that_is_proved_while_more_arrives_must_be_right_too(bob, alice, cargo):
    (oid, data), *_ = lists(cargo)
    listed = unpack_list(data[header.HEADER_BYTES :], len(LARGE))
    right = list(listed.chunks)
    forged = [right[-1], *right[1:-1], right[0]]
    for chunks, whole in ((forged, False), (right, True)):
        listed.chunks = chunks
        payload = listed.pack()
        head = header.Header(1, header.CHUNKED, 0, len(LARGE), len(payload), oid)
        with bob.open() as store, ThreadPoolExecutor(2) as pool:
            arrivals = Arrivals(store)
            arrivals.put([(oid, head.pack() + payload)])
            arrivals.prove_behind(pool.submit)  # nothing has come yet: nothing is begun
            arrivals.put([item for item in cargo.objects if item[0] != oid])
            arrivals.prove_behind(pool.submit)
            arrivals.prove_behind(pool.submit)
            assert arrivals.settle() == set()
            assert (arrivals.fact(oid) is not None) == whole
            assert (store.objects.place(oid) is not None) == whole


def test_a_list_without_a_chunk_is_told_and_settled_later(alice, bob, cargo):
    chunk = next(item for item in cargo.objects if header.unpack(item[1]).coding != header.CHUNKED)
    with bob.open() as store:
        arrivals = Arrivals(store)
        arrivals.put([item for item in cargo.objects if item != chunk])
        found = [(unpack(data), alice.origin) for data in cargo.records]
        get = functools.partial(children, store.objects)
        done = ingest(store, found, arrivals, get)
        assert (done.new, chunk[0] in done.lost) == (0, True)
        arrivals.put([chunk])
        assert ingest(store, found, arrivals, get).new == 1
        assert read(store) == LARGE


def test_a_bundle_with_a_forged_list_is_noticed(alice, tmp_path, cargo):
    with alice.open() as store:
        path = tmp_path / "b"
        with open(path, "wb") as file:
            write_bundle(store, plan_bundle(store), file.write, alice.key)
        assert check_bundle(str(path)).findings == []
        (oid, data), *_ = lists(cargo)
        listed = unpack_list(data[header.HEADER_BYTES :], len(LARGE))
        listed.chunks = [listed.chunks[-1], *listed.chunks[1:-1], listed.chunks[0]]
        payload = listed.pack()
        forged = header.Header(1, header.CHUNKED, 0, len(LARGE), len(payload), oid).pack() + payload
        encoded = store.objects.encoded
        store.objects.encoded = lambda name: forged if name == oid else encoded(name)
        with open(path, "wb") as file:
            write_bundle(store, plan_bundle(store), file.write, alice.key)
        assert any("another content" in line for line in check_bundle(str(path)).findings)
