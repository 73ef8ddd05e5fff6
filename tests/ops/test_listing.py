"""Rows of what is stored."""

from __future__ import annotations

import pytest

from scalable_cas import Store
from scalable_cas.codecs.base import encode
from scalable_cas.errors import IndexDamaged
from scalable_cas.ops.listing import entries, entry, newest, objects_of
from scalable_cas.storage.index import BATCH
from tests.cli.filling import digest, put, record


@pytest.fixture
def store(tmp_path):
    with Store.init(tmp_path / "store") as store:
        yield store


def test_a_row_has_what_was_stored(store):
    key = put(store, "m.f", "x", "text", seconds=1.5)
    (row,) = entries(store)
    assert (row.key, row.function, row.size, row.seconds) == (key, "m.f", 4, 1.5)
    assert (row.codec, row.origin, row.foreign) == ("str", "local", False)
    assert row.as_dict()["key"] == key
    assert entry(store, row.record.rowkey).as_dict() == row.as_dict()
    assert entry(store, b"\0" * 40) is None


def test_size_counts_the_buffers(store):
    put(store, "m.f", "x", [b"\0" * 100_000, b"\1" * 100_000])
    (row,) = entries(store)
    assert 200_000 < row.size < 200_200
    found = objects_of(store, row)
    assert [item["kind"] for item in found] == ["value", "blob", "blob"]
    assert [item["size"] for item in found[1:]] == [100_000, 100_000]
    assert row.size == sum(item["size"] for item in found)


def test_entries_of_some_functions_only(store):
    for function in ("a.f", "b.f", "c.f"):
        for call in "xy":
            put(store, function, call)
    assert {row.function for row in entries(store)} == {"a.f", "b.f", "c.f"}
    assert {row.function for row in entries(store, [digest("b.f", 8)])} == {"b.f"}
    assert list(entries(store, [])) == []


def test_more_entries_than_one_batch(store):
    items = [record("m.f", str(number), seconds=0.0) for number in range(BATCH + 3)]
    for item in items:
        store.save(item, encode(1))
    assert {row.record.key for row in entries(store)} == {item.key for item in items}


def test_entries_may_vanish_while_they_are_listed(store):
    for number in range(BATCH + 10):
        store.save(record("m.f", str(number), seconds=0.0), encode(1))
    rows = entries(store)
    first = next(rows)
    later = [key for key, _ in store.index.scan("refs") if key != first.record.rowkey]
    store.forget(later[BATCH // 2 :])
    assert len(list(rows)) <= BATCH


def test_newest(store):
    for age in (5, 1, 3):
        put(store, "m.f", str(age), age=age * 10**9)
    calls = [digest(str(age)) for age in (1, 3, 5)]
    assert [row.record.parts[0][2] for row in newest(entries(store))] == calls
    assert [row.record.parts[0][2] for row in newest(entries(store), 2)] == calls[:2]


def test_a_broken_record_is_a_damaged_index(store):
    put(store, "m.f", "x")
    (row,) = entries(store)
    database = store.index.environment.db["records"]
    store.index.environment.write(
        lambda transaction: transaction.put(row.record.rowkey, b"\xc1", db=database)
    )
    with pytest.raises(IndexDamaged, match="reindex"):
        list(entries(store))


def test_a_missing_object_is_a_problem_of_its_row(store):
    put(store, "m.f", "x", [b"\0" * 100_000])
    (row,) = entries(store)
    child = bytes.fromhex(objects_of(store, row)[1]["oid"])
    store.objects.loose.delete(child)
    root, buffer = objects_of(store, row)
    assert "problem" not in root
    assert child.hex() in buffer["problem"]
    store.objects.loose.delete(row.record.oid)
    (root,) = objects_of(store, row)
    assert "problem" in root
