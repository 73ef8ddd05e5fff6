"""The buffers of a value: several of a few megabytes are read at a time, each checked."""

from __future__ import annotations

import random
from functools import cache

import pytest

from scalable_cas import Store
from scalable_cas.errors import CorruptObject, ObjectNotFound
from scalable_cas.format.header import HEADER_BYTES
from scalable_cas.format.kinds import BLOB, object_id
from scalable_cas.format.value import BufferRef
from scalable_cas.storage import parallel
from scalable_cas.store import buffers
from tests.support.stores import flip, object_files, pack_files

SIZES = (100, 200_000, 2_000_000, 3_000_000, 17_000_000, 2_500_000)


@pytest.fixture
def store(tmp_path):
    made = Store.init(tmp_path / "store")
    yield made
    made.close()


@pytest.fixture(params=(1, 2, 3), autouse=True)
def cores(request, monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: request.param)
    return request.param


@cache
def contents(sizes=SIZES):
    return [random.Random(number).randbytes(size) for number, size in enumerate(sizes)]


def put(store, parts):
    return [BufferRef(BLOB, store.put_object(BLOB, part), len(part)) for part in parts]


def test_they_come_in_their_order_whatever_their_sizes(store):
    parts = contents()
    found = buffers.buffers_of(store, put(store, parts))
    assert [bytes(one) for one in found] == parts


def test_equal_ones_have_memory_of_their_own(store):
    (part,) = contents((2_000_000,))
    one, other = buffers.buffers_of(store, put(store, [part, part]))
    one[0] ^= 1
    assert bytes(other) == part


@pytest.mark.parametrize("size", [65_400, 100_000, 1_000_000, (1 << 20) + 5])
def test_raw_ones_are_memory_to_write_into(store, size):
    (part,) = contents((size,))
    (ref,) = put(store, [part])
    (found,) = buffers.buffers_of(store, [ref])
    assert found == part
    assert size < (64 << 10) - HEADER_BYTES or not memoryview(found).readonly


def test_those_of_some_megabytes_have_a_thread_each_and_larger_ones_all(store, cores, monkeypatch):
    refs, asked, real = put(store, contents()), {}, store.objects.get

    def get(oid, *, threads, largest):
        asked[largest] = threads
        return real(oid, threads=threads, largest=largest)

    monkeypatch.setattr(store.objects, "get", get)
    buffers.buffers_of(store, refs)
    assert asked == {size: 1 if 2_000_000 <= size <= 3_000_000 else cores for size in SIZES}


@pytest.mark.parametrize("damaged", range(1, len(SIZES)))
def test_damage_in_any_of_them_is_told(store, tmp_path, damaged):
    refs = put(store, contents())
    where = store.objects.place(refs[damaged].oid)
    if where.pack:  # in chunks: the list follows them, and the last byte before it is theirs
        path = next(path for path in pack_files(tmp_path / "store") if where.pack.hex()[2:] in path.name)
        flip(path, where.offset - 1)
    else:
        path = next(p for p in object_files(tmp_path / "store") if refs[damaged].oid.hex()[2:] == p.name)
        flip(path, path.stat().st_size - 1)
    with pytest.raises(CorruptObject):
        buffers.buffers_of(store, refs)


def test_one_that_is_gone_is_told(store):
    refs = put(store, contents((2_000_000, 3_000_000)))
    with pytest.raises(ObjectNotFound):
        buffers.buffers_of(store, [*refs, BufferRef(BLOB, object_id(BLOB, b"never stored"), 2_000_000)])


def test_one_of_another_size_than_its_value_says_is_refused(store):
    first, second = put(store, contents((2_000_000, 3_000_000)))
    with pytest.raises(CorruptObject):
        buffers.buffers_of(store, [first, BufferRef(BLOB, second.oid, 3_000_001)])
