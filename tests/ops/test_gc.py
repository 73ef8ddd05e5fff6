"""What gc keeps and what it drops."""

from __future__ import annotations

import random

import pytest

from scalable_cas import Store
from scalable_cas.codecs.base import encode
from scalable_cas.errors import CorruptObject
from scalable_cas.format.record import Record
from scalable_cas.ops.gc import Policy, execute, plan_gc
from scalable_cas.ops.usage import function_usage, usage
from scalable_cas.ops.verify import verify
from scalable_cas.store.entry import MISS
from scalable_cas.store.telemetry import Counters

FNID = b"function"


def put(store, number, value, *, created=None, seconds=0.2, function="m.f", ttl=0):
    created = created or 10**18 + number
    record = Record(number.to_bytes(32, "big"), FNID, function, created=created, seconds=seconds)
    record.ttl = ttl
    store.save(record, encode(value))
    return record.rowkey


def get(store, rowkey):
    return store.read(rowkey, Counters(), None)


@pytest.fixture
def store(tmp_path):
    with Store.init(tmp_path / "s") as opened:
        yield opened


VALUES = [
    7,
    {"small": "dict"},
    b"x" * 10,
    "text" * 1000,
    {"many": list(range(5000))},
    {"buffer in a plain value": bytes(range(256)) * 400},
    {"two": [b"a" * 70_000, b"b" * 70_000], "again": b"a" * 70_000},
    complex,
    [complex, bytearray(200_000)],
]


def test_everything_that_an_entry_needs_survives(store):
    keys = [put(store, number, value) for number, value in enumerate(VALUES)]
    result = execute(store, plan_gc(store, Policy()))
    assert (result.entries, result.objects) == (0, 0)
    assert [get(store, key) for key in keys] == VALUES
    assert verify(store).findings == []


def test_what_was_forgotten_is_freed_at_once_and_what_is_shared_stays(store):
    shared = b"s" * 70_000
    one, two = put(store, 1, {"x": shared, "only": b"1" * 70_000}), put(store, 2, {"x": shared})
    before = function_usage(store, FNID)
    store.forget([one])
    plan = plan_gc(store, Policy())
    assert plan.objects == 2  # the value and the buffer that only it had
    result = execute(store, plan)
    assert (result.objects, result.bytes) == (plan.objects, plan.bytes)
    assert get(store, two) == {"x": shared}
    assert get(store, one) is MISS
    assert function_usage(store, FNID)[1] < before[1]
    assert verify(store).findings == []


def test_a_plan_changes_nothing(store):
    put(store, 1, [1])
    store.forget([put(store, 2, [2])])
    before = sorted(store.objects.names())
    plan = plan_gc(store, Policy(older_than=0))
    assert (len(plan.entries), plan.objects) == (1, 2)
    assert sorted(store.objects.names()) == before
    with pytest.raises(AttributeError):
        plan.objects = 5


def test_policies(store):
    now = __import__("time").time_ns()
    day = 86_400 * 10**9
    keys = [put(store, n, [n], created=now - n * day, seconds=n) for n in range(6)]

    def dropped(**policy):
        return {key for item in plan_gc(store, Policy(**policy)).entries for key in [keys.index(item.rowkey)]}

    assert dropped() == set()
    assert dropped(older_than=2.5 * 86_400) == {3, 4, 5}
    assert dropped(unused_for=2.5 * 86_400) == {3, 4, 5}
    assert dropped(keep_last=2) == {2, 3, 4, 5}
    assert dropped(older_than=2.5 * 86_400, keep_last=4) == {4, 5}
    assert dropped(max_size=0) == {0, 1, 2, 3, 4, 5}
    assert dropped(max_size=0, keep_last=1) == {1, 2, 3, 4, 5}
    assert dropped(max_size=10**9) == set()
    assert 0 in dropped(max_size=300)  # what is computed fastest goes first
    assert 5 not in dropped(max_size=300)
    assert dropped(older_than=0, function="m.other") == set()
    store.pin([keys[5]])
    assert dropped(older_than=2.5 * 86_400) == {3, 4}
    get(store, keys[4])
    store.writer.flush(notes=True)
    assert dropped(unused_for=2.5 * 86_400) == {3}


def test_entries_past_their_ttl_go_without_a_policy(store):
    old = put(store, 1, [1], created=1, ttl=10)
    put(store, 2, [2])
    assert [item.rowkey for item in plan_gc(store, Policy()).entries] == [old]


def test_an_entry_that_was_stored_anew_since_the_plan_stays(store):
    key = put(store, 1, [1])
    plan = plan_gc(store, Policy(older_than=0))
    put(store, 1, [2], created=10**18 + 99)
    store.flush()
    assert execute(store, plan).entries == 0
    assert get(store, key) == [2]


def test_an_object_that_cannot_be_read_stops_the_collection(store):
    key = put(store, 1, {"x": b"y" * 70_000, "pad": list(range(2000))})
    root = store.index.record(key).oid
    path = store.objects.loose.path(root)
    __import__("os").chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.seek(80)
        file.write(b"\xff\xff\xff")
    for work in (lambda: plan_gc(store, Policy()), lambda: execute(store, plan_gc(store, Policy()))):
        with pytest.raises(CorruptObject):
            work()
    assert store.objects.place(root) is not None


def test_usage_tells_what_was_gained(store):
    """Two results of 2 MB that share most of it, and do not shrink; one of text, which does."""
    noise = random.Random(1).randbytes(2_000_000)
    put(store, 1, noise + b"one")
    put(store, 2, noise + b"two")
    text = b"a line of text\n" * 100_000
    record = Record(b"k" * 32, b"other fn", "m.g", created=1, seconds=1)
    store.save(record, encode(text))
    found = {item.function: item for item in usage(store)}
    mine, other = found["m.f"], found["m.g"]
    assert mine.values == 4_000_006
    assert 2_000_000 < mine.raw < 2_200_000
    assert mine.raw < mine.stored < 1.03 * mine.raw
    assert 1.8 < mine.ratio < 2.0
    assert mine.as_dict()["deduplicated"] == mine.values - mine.raw
    assert other.values == len(text)
    assert other.ratio > 50
    assert other.as_dict()["compressed"] > 0.9 * other.raw
    entries, size = function_usage(store, FNID)
    assert entries == 2
    assert size == mine.stored


def test_usage_counts_shared_files_apart(store):
    put(store, 1, b"z" * 9000)
    record = Record(b"k" * 32, b"other fn", "m.g", created=1, seconds=1)
    store.save(record, encode(b"z" * 9000))
    found = {item.function: item for item in usage(store)}
    assert (found["m.f"].stored, found["m.f"].entries) == (0, 1)
    assert found["m.f"].shared == found["m.g"].shared > 0
