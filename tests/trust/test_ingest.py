"""What comes from elsewhere comes in whole, foreign, and beside what is there; whatever a collector does."""

from __future__ import annotations

import functools
import os

import numpy as np
import pytest

from scalable_cas import clock
from scalable_cas.errors import CorruptObject, StoreReadOnly
from scalable_cas.format import header, rows
from scalable_cas.format.kinds import BLOB, object_id
from scalable_cas.format.record import EVERY_KEY, Record, pinning, tombstone, unpack
from scalable_cas.ops.closure import children
from scalable_cas.ops.gc import Policy, execute, plan_gc
from scalable_cas.ops.listing import entries
from scalable_cas.store.entry import MISS
from scalable_cas.store.ingest import Arrivals, ingest
from scalable_cas.store.rebuild import fill_index
from scalable_cas.store.telemetry import Counters
from scalable_cas.store.trust import trust_list
from tests.support.stores import assert_whole

from .conftest import FUNCTION, KEY, read, save, sent, take

VALUES = {
    "plain": {"a": [1, 2.5, "x"]},
    "bytes": b"raw" * 10_000,
    "text": "long " * 300_000,
    "array": np.arange(100_000.0),
}


def same(left, right):
    return np.array_equal(left, right) if isinstance(left, np.ndarray) else left == right


@pytest.fixture
def cargo(alice):
    with alice.open() as store:
        for number, value in enumerate(VALUES.values()):
            save(store, value, bytes([number + 1]) * 32)
        return sent(store)


def test_every_value_comes_in_and_the_store_is_whole(alice, bob, cargo):
    with bob.open() as store:
        done = take(store, cargo, alice.origin)
        assert (done.new, done.known, done.refused, done.lost, done.incomplete) == (4, 0, 0, set(), [])
        for number, value in enumerate(VALUES.values()):
            if "pickle" in unpack(cargo.records[number]).codec:
                continue  # test_reading
            assert same(read(store, bytes([number + 1]) * 32), value)
        assert {entry.origin for entry in entries(store)} == {alice.origin}
    assert_whole(bob.path)


def test_again_changes_nothing(alice, bob, cargo):
    with bob.open() as store:
        take(store, cargo, alice.origin)
        before = sorted(store.index.scan("refs")), sorted(store.objects.names())
        done = take(store, cargo, alice.origin)
        assert (done.new, done.known) == (0, 4)
        assert (sorted(store.index.scan("refs")), sorted(store.objects.names())) == before


def test_many_small_objects_become_one_pack_and_come_back_after_reindex(alice, bob):
    with alice.open() as store:
        for number in range(100):
            save(store, {"n": number}, (number + 1).to_bytes(32, "big"))
        cargo = sent(store)
    with bob.open() as store:
        assert take(store, cargo, alice.origin).new == 100
        assert len(store.objects.packs.names()) == 1
        fill_index(store.index, store.journal, store.objects)
        assert {entry.origin for entry in entries(store)} == {alice.origin}
        assert read(store, (7).to_bytes(32, "big")) == {"n": 6}


def test_what_was_made_here_stays(alice, bob, cargo):
    with bob.open() as store:
        save(store, "mine", b"\x01" * 32, created=1)
        done = take(store, cargo, alice.origin)
        assert (done.new, done.known) == (3, 1)
        assert read(store, b"\x01" * 32) == "mine"
        (mine,) = (entry for entry in entries(store) if entry.record.key == b"\x01" * 32)
        assert mine.origin == "local"


def test_what_was_made_here_and_lost_its_object_does_not_stay(alice, bob, cargo):
    with bob.open() as store:
        record = save(store, "mine", b"\x01" * 32)
        os.unlink(store.objects.loose.path(record.oid))
        assert take(store, cargo, alice.origin).new == 4
        assert read(store, b"\x01" * 32) == VALUES["plain"]


def test_the_first_from_elsewhere_stays_unless_the_other_signer_is_trusted(alice, bob):
    with alice.open() as store:
        save(store, "first")
        first = sent(store)
    with alice.open() as store:
        save(store, "second", created=10**18 + 1)
        second = sent(store)
    stranger = "ed25519:" + "A" * 43 + "="
    with bob.open() as store:
        take(store, first, stranger)
        take(store, second, alice.origin, second.records)
        assert read(store) == "first"
        assert take(store, second, stranger).new == 1  # younger, of the same signer
        assert read(store) == "second"
        assert take(store, first, stranger).new == 0
        trust_list().add(alice.key.public, "alice")
        assert take(store, first, alice.origin).new == 1
        assert read(store) == "first"


def test_an_origin_that_a_record_claims_is_not_believed(alice, bob, cargo):
    claims = []
    for data in cargo.records:
        record = unpack(data)
        record.origin = bob.origin
        claims.append(record.pack())
    with bob.open() as store:
        take(store, cargo, "unsigned", claims)
        assert {entry.origin for entry in entries(store)} == {"unsigned"}
        fill_index(store.index, store.journal, store.objects)
        assert {entry.origin for entry in entries(store)} == {"unsigned"}


def test_of_two_that_nobody_signed_the_first_stays(alice, bob):
    with alice.open() as store:
        save(store, "first")
        first = sent(store)
    with alice.open() as store:
        save(store, "second", created=10**18 + 1)
        second = sent(store)
    with bob.open() as store:
        take(store, first, "unsigned")
        assert take(store, second, "unsigned").known == 1
        assert read(store) == "first"


def test_what_is_of_the_future_is_taken_as_of_now_and_replaces_nothing(alice, bob):
    with alice.open() as store:
        record = save(store, "late", created=2**63)
        late = sent(store)
    with bob.open() as store:
        assert take(store, late, alice.origin).new == 1
        (mine,) = entries(store)
        assert mine.created <= clock.now_ns()
        record.created += 1
        assert take(store, late, alice.origin, [record.pack()]).known == 1
        clock.sleep(0.002)
        assert store.read(FUNCTION + KEY, Counters(), 10**6) is MISS  # older than a millisecond


def test_the_name_that_others_give_a_function_does_not_stay(alice, bob):
    with alice.open() as store:
        save(store, 1, function="misleading.name")
        cargo = sent(store)
    with bob.open() as store:
        take(store, cargo, alice.origin)
        save(store, 2, b"2" * 32)
        take(store, cargo, alice.origin)
        assert store.index.function_names()[FUNCTION] == "module.function"


def test_a_store_that_cannot_be_written_takes_nothing(alice, bob, cargo, monkeypatch):
    with bob.open() as store:
        store.read_only = True
        with pytest.raises(StoreReadOnly):
            Arrivals(store)
        assert list(store.objects.names()) == []
        store.read_only = False


# --- objects ------------------------------------------------------------------------------------------------


def test_an_object_under_another_name_is_refused_and_nothing_of_its_batch_is_there(bob, cargo):
    oid, data = cargo.objects[0]
    with bob.open() as store:
        for bad in (
            [(oid, cargo.objects[1][1])],
            [cargo.objects[1], (oid, data[:-1])],
            [cargo.objects[1], (oid, data + b"\0")],
            [cargo.objects[1], (oid, data[:-1] + bytes([data[-1] ^ 1]))],
        ):
            with pytest.raises(CorruptObject):
                Arrivals(store).put(bad)
            assert list(store.objects.names()) == []


def bomb(size):
    """An object of a few kB that says that it is `size` bytes, and would be."""
    import zstandard

    payload = zstandard.ZstdCompressor(level=1).compress(bytes(size))
    oid = object_id(BLOB, bytes(size))
    return oid, header.Header(BLOB, header.ZSTD, 0, size, len(payload), oid).pack() + payload


def test_an_object_that_expands_too_far_is_refused(bob):
    oid, data = bomb((64 << 20) + 1)
    assert len(data) < 100_000
    with bob.open() as store:
        with pytest.raises(CorruptObject, match="said to be"):
            Arrivals(store).put([(oid, data)])
        path = Arrivals(store).draft()
        with open(path, "wb") as file:
            file.write(data)
        with pytest.raises(CorruptObject):
            Arrivals(store).put_file(oid, path)
        assert not os.path.exists(path)
        oid, data = bomb(32 << 20)  # expands as far, but anybody can hold it
        Arrivals(store).put([(oid, data)])


def test_a_large_object_comes_as_a_file(alice, bob, cargo):
    with bob.open() as store:
        arrivals = Arrivals(store)
        for oid, data in cargo.objects:
            path = arrivals.draft()
            with open(path, "wb") as file:
                file.write(data)
            arrivals.put_file(oid, path)
            assert not os.path.exists(path)
            arrivals.put_file(oid, _again(arrivals, data))
        found = [(unpack(data), alice.origin) for data in cargo.records]
        assert ingest(store, found, arrivals, functools.partial(children, store.objects)).new == 4
    assert_whole(bob.path)


def _again(arrivals, data):
    path = arrivals.draft()
    with open(path, "wb") as file:
        file.write(data)
    return path


def test_a_damaged_copy_that_is_there_is_replaced(alice, bob, cargo):
    with bob.open() as store:
        take(store, cargo, alice.origin)
        paths = [store.objects.loose.path(oid) for oid, _ in cargo.objects]
        for path in paths:
            os.chmod(path, 0o600)
            with open(path, "r+b") as file:
                file.seek(-1, os.SEEK_END)
                last = file.read(1)
                file.seek(-1, os.SEEK_END)
                file.write(bytes([last[0] ^ 1]))
        take(store, cargo, alice.origin)
        assert read(store, b"\x02" * 32) == VALUES["bytes"]


def test_a_record_without_its_objects_is_left_out(alice, bob, cargo):
    wanted = unpack(cargo.records[1])
    cargo.objects = [item for item in cargo.objects if item[0] != wanted.oid]
    with bob.open() as store:
        done = take(store, cargo, alice.origin)
        assert (done.new, done.incomplete) == (3, [wanted.rowkey])
    assert_whole(bob.path)


def test_a_record_without_a_buffer_of_its_value_is_left_out(alice, bob):
    with alice.open() as store:
        record = save(store, VALUES["array"])
        assert len(children(store.objects, record.kind, record.oid)) == 1
        cargo = sent(store)
    cargo.objects = [item for item in cargo.objects if item[0] == record.oid]
    with bob.open() as store:
        assert take(store, cargo, alice.origin).incomplete == [FUNCTION + KEY]
        assert list(entries(store)) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda record: setattr(record, "size", record.size + 1),
        lambda record: setattr(record, "kind", BLOB if record.kind != BLOB else 4),
    ],
)
def test_a_record_that_does_not_fit_its_object_is_refused(alice, bob, cargo, change):
    record = unpack(cargo.records[0])
    change(record)
    with bob.open() as store:
        done = take(store, cargo, alice.origin, [record.pack()])
        assert (done.new, done.refused) == (0, 1)


def test_pins_of_others_are_refused(alice, bob, cargo):
    pin = pinning(FUNCTION + KEY, "f", pinned=True, created=1, sequence=1)
    with bob.open() as store:
        assert take(store, cargo, alice.origin, [pin.pack()]).refused == 1
        assert store.index.pins() == set()


# --- forgotten ----------------------------------------------------------------------------------------------


def stone(record, created):
    return tombstone(record.rowkey, record.function, created=created, sequence=1).pack()


def test_a_tombstone_takes_what_its_own_signer_sent_before_and_nothing_else(alice, bob, cargo):
    first = unpack(cargo.records[0])
    origin, other = alice.origin, "ed25519:" + "A" * 43 + "="
    with bob.open() as store:
        take(store, cargo, origin)
        for created, signer, forgotten in [
            (first.created, "unsigned", 0),
            (first.created, other, 0),
            (first.created - 1, origin, 0),
            (first.created, origin, 1),
            (first.created, origin, 0),
        ]:
            done = take(store, cargo, signer, [stone(first, created)])
            assert done.forgotten == forgotten
        assert len(list(entries(store))) == 3
        fill_index(store.index, store.journal, store.objects)
        assert len(list(entries(store))) == 3


def test_nobody_elsewhere_can_forget_a_whole_function(alice, bob, cargo):
    """The tombstone of all of a function has a key of zeros; nor may there be an entry that it could be for."""
    everything = Record(
        EVERY_KEY, FUNCTION, "module.function", codec="plain", kind=4, oid=unpack(cargo.records[0]).oid
    )
    everything.size = unpack(cargo.records[0]).size
    with bob.open() as store:
        save(store, "mine")
        for key, fnid in ((EVERY_KEY, FUNCTION), (EVERY_KEY, bytes(8)), (KEY, bytes(8))):
            everything.key, everything.fnid = key, fnid
            for data in (everything.pack(), stone(everything, 2**62)):
                assert take(store, cargo, alice.origin, [data]).refused == 1
        fill_index(store.index, store.journal, store.objects)
        assert read(store) == "mine"


def test_no_tombstone_takes_what_was_made_here(bob, cargo):
    with bob.open() as store:
        record = save(store, "mine")
        for origin in (bob.origin, "unsigned"):
            assert take(store, cargo, origin, [stone(record, 2**62)]).forgotten == 0
        assert read(store) == "mine"


# --- collectors ---------------------------------------------------------------------------------------------


def collect(store):
    execute(store, plan_gc(store, Policy()))


def test_what_a_collector_takes_before_it_is_named_is_lost_and_can_be_put_again(alice, bob, cargo):
    origin = alice.origin
    with bob.open() as store:
        arrivals = Arrivals(store)
        arrivals.put(cargo.objects)
        collect(store)
        assert list(store.objects.names()) == []
        found = [(unpack(data), origin) for data in cargo.records]
        get = functools.partial(children, store.objects)
        done = ingest(store, found, arrivals, get)
        assert (done.new, len(done.incomplete)) == (0, 4)
        assert list(entries(store)) == []
        for _ in range(3):  # of a value the head is missed first, then its buffers
            arrivals.put([item for item in cargo.objects if item[0] in done.lost])
            done = ingest(store, found, arrivals, get)
        assert (len(list(entries(store))), done.known, done.lost) == (4, 4, set())
        collect(store)
        assert read(store, b"\x01" * 32) == VALUES["plain"]
    assert_whole(bob.path)


def test_what_a_collector_takes_between_looking_and_naming_is_lost(alice, bob, cargo, monkeypatch):
    origin = alice.origin
    with bob.open() as store:
        arrivals = Arrivals(store)
        arrivals.put(cargo.objects)
        write = store.index.write

        def late(change, *rest):
            monkeypatch.setattr(store.index, "write", write)
            collect(store)
            return write(change, *rest)

        monkeypatch.setattr(store.index, "write", late)
        found = [(unpack(data), origin) for data in cargo.records]
        done = ingest(store, found, arrivals, functools.partial(children, store.objects))
        assert done.new == 0
        assert done.lost
        assert list(entries(store)) == []


def test_what_was_there_and_is_relied_on_is_not_collected(alice, bob, cargo):
    """The object is there already, named by nobody: the row that is written for it must keep it."""
    origin = alice.origin
    with alice.open() as store:
        contents = {oid: store.objects.get(oid) for oid, _ in cargo.objects}
    with bob.open() as store:
        for oid, (head, content) in contents.items():
            assert store.put_object(head.kind, content) == oid
        arrivals = Arrivals(store)
        assert arrivals.missing([oid for oid, _ in cargo.objects]) == []
        found = [(unpack(data), origin) for data in cargo.records]
        assert ingest(store, found, arrivals, functools.partial(children, store.objects)).new == 4
        collect(store)
        assert read(store, b"\x02" * 32) == VALUES["bytes"]


def test_the_row_of_an_entry_names_its_signer_under_the_tag(alice, bob, cargo):
    with bob.open() as store:
        take(store, cargo, alice.origin)
        for rowkey, row in store.index.scan("refs"):
            assert rows.signer_of(row) == alice.key.public
            assert rows.ref_tag(rowkey, row[16:], store.secret) == row[:16]
            other = row[:-1] + bytes([row[-1] ^ 1])
            assert rows.ref_tag(rowkey, other[16:], store.secret) != row[:16]


def test_a_record_made_by_hand_with_wild_numbers_never_gets_so_far():
    good = Record(KEY, FUNCTION, "f", codec="plain", kind=4, oid=KEY, created=1)
    from scalable_cas.errors import MalformedObject

    for field, value in [
        ("created", -1),
        ("created", 2**64),
        ("size", -1),
        ("size", 2**64),
        ("total", -1),
        ("seconds", -0.5),
        ("seconds", float("nan")),
        ("seconds", 1e300),
        ("ttl", -1),
        ("sequence", -1),
        ("kind", 77),
        ("parts", [("a", "b", 10**9)]),
        ("parts", 5),
        ("parts", [("a", [[]], b"")]),
    ]:
        bad = unpack(good.pack())
        setattr(bad, field, value)
        try:
            packed = bad.pack()
        except (OverflowError, ValueError):
            continue
        with pytest.raises(MalformedObject):
            unpack(packed)
