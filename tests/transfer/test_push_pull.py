"""Push and pull over a folder: what arrives, what is left alone, and how many requests it takes."""

from __future__ import annotations

import pytest

from scalable_cas import Store
from scalable_cas.errors import ConfigError, NothingFound, RemoteError
from scalable_cas.format import record as records
from scalable_cas.format.kinds import VALUE
from scalable_cas.ops.closure import children
from scalable_cas.ops.transfer.push_plan import plan_push
from scalable_cas.ops.transfer.repository import add_remote, open_repository
from scalable_cas.ops.transfer.single import fetch_entry
from tests.support.stores import overwrite

from .people import MISS, fill, keys, noise, numbers, read, values


def test_every_kind_of_result_arrives_and_reads_the_same(ada, bob, place):
    for name, value in values().items():
        fill(ada, "m.f", name, value=value)
    ada.push(place.url)
    done = bob.pull(place.url)
    assert done.entries == len(values())
    assert done.lost == done.faults == ()
    for name, value in values().items():
        assert read(bob, "m.f", name) == value, name
    assert bob.verify().findings == []
    assert keys(bob) == keys(ada)


def test_an_entry_says_who_signed_it(ada, bob, place):
    fill(ada, "m.f", 1)
    ada.push(place.url)
    bob.pull(place.url)
    (entry,) = bob.entries()
    assert entry.origin.startswith("ed25519:")
    assert [e.origin for e in ada.entries()] == ["local"]


def test_the_second_push_and_the_second_pull_do_nothing_in_two_requests(ada, bob, place):
    fill(ada, "m.f", *range(50))
    ada.push(place.url)
    before = place.names()
    again = ada.push(place.url)
    assert (again.entries, again.objects, again.present, again.requests) == (0, 0, 50, 2)
    assert place.names() == before
    bob.pull(place.url)
    again = bob.pull(place.url)
    assert (again.entries, again.present, again.requests) == (0, 50, 2)


def test_many_small_results_travel_in_a_few_requests(ada, bob, place):
    for n in range(3000):
        fill_one(ada, n)
    ada.flush()
    assert ada.push(place.url).requests <= 8
    assert bob.pull(place.url).requests <= 8
    assert len(keys(bob)) == 3000


def fill_one(store, n):
    from scalable_cas.codecs.base import encode
    from tests.cli.filling import record

    store.save(record("m.f", str(n), seconds=0.001), encode(noise(1000, n)))


def test_only_what_is_new_is_sent(ada, place):
    shared = noise(1 << 20)
    fill(ada, "m.f", "first", value=shared)
    first = ada.push(place.url)
    fill(ada, "m.f", "second", value=shared)
    second = ada.push(place.url)
    assert (second.entries, second.objects) == (1, 0)
    assert second.bytes < 5000 < first.bytes


def test_one_function_is_pushed_and_pulled_by_itself(ada, bob, place):
    fill(ada, "m.f", 1, 2)
    fill(ada, "m.g", 1)
    fill(ada, "n.f", 1)
    assert ada.push(place.url, function="m.f").entries == 2
    assert ada.push(place.url, function=["g", "n.f"]).entries == 2
    assert bob.pull(place.url, function="g").entries == 1
    assert read(bob, "m.g", 1) is not MISS
    assert read(bob, "m.f", 1) is MISS
    with pytest.raises(NothingFound):
        bob.pull(place.url, function="h")


def test_a_plan_sends_nothing_and_tells_what_it_would_do(ada, bob, place):
    fill(ada, "m.f", *range(5))
    assert ada.push(place.url, dry_run=True).entries == 5
    assert place.names() == []
    fill(ada, "m.g", 1)
    ada.push(place.url, function="g")
    before = place.names()
    plan = ada.push(place.url, dry_run=True)
    assert (plan.entries, plan.objects, plan.present) == (5, 5, 1)
    assert plan.bytes > 0
    ada.push(place.url)
    assert len(place.names()) > len(before)
    plan = bob.pull(place.url, dry_run=True)
    assert (plan.entries, plan.present) == (6, 0)
    assert keys(bob) == set()


def test_what_was_made_here_is_kept(ada, bob, place):
    fill(ada, "m.f", 1, value="from ada")
    fill(bob, "m.f", 1, value="from bob", age=10**12)
    ada.push(place.url)
    bob.pull(place.url)
    assert read(bob, "m.f", 1) == "from bob"
    assert [entry.origin for entry in bob.entries()] == ["local"]


def test_of_two_results_of_one_key_the_younger_counts_whoever_pushes_first(ada, bob, place, tmp_path):
    fill(ada, "m.f", 1, value="old", age=10**12)
    fill(bob, "m.f", 1, value="young")
    fill(ada, "m.f", 2, value="young")
    fill(bob, "m.f", 2, value="old", age=10**12)
    ada.push(place.url)
    bob.push(place.url)
    with Store.init(tmp_path / "eve") as eve:
        eve.pull(place.url)
        assert [read(eve, "m.f", 1), read(eve, "m.f", 2)] == ["young", "young"]


def test_what_is_forgotten_here_stays_there_and_comes_back(ada, bob, place):
    fill(ada, "m.f", 1, 2)
    ada.push(place.url)
    ada.forget([entry.record.rowkey for entry in ada.entries()])
    assert ada.push(place.url).entries == 0
    assert bob.pull(place.url).entries == 2
    assert ada.pull(place.url).entries == 2
    assert read(ada, "m.f", 2) == {"call": 2, "of": "m.f"}


def test_what_was_pulled_is_pushed_on_by_those_who_trust_it(ada, bob, place, tmp_path):
    fill(ada, "m.f", 1)
    ada.push(place.url)
    bob.pull(place.url)
    other = f"file://{tmp_path}/other"
    assert bob.push(other).entries == 1
    with Store.init(tmp_path / "eve") as eve:
        eve.pull(other)
        assert read(eve, "m.f", 1) == {"call": 1, "of": "m.f"}


def test_an_entry_that_lacks_an_object_here_is_left_out(ada, bob, place):
    fill(ada, "m.f", "whole")
    fill(ada, "m.f", "lost", value=noise(100_000))
    fill(ada, "m.f", "damaged", value=noise(100_001))
    lost, damaged = (
        next(e for e in ada.entries() if e.size == size).record.oid for size in (100_000, 100_001)
    )
    ada.objects.loose.delete(lost)
    overwrite(ada.objects.loose.path(damaged), b"x" * 500)
    done = ada.push(place.url)
    assert done.entries == 1
    assert len(done.broken) == 2
    assert bob.pull(place.url).entries == 1
    assert bob.verify().findings == []


def test_a_large_object_that_is_damaged_here_is_not_sent(ada, place):
    fill(ada, "m.f", 1, value=numbers())
    (entry,) = ada.entries()
    ((_, oid),) = children(ada.objects, VALUE, entry.record.oid)
    path = ada.objects.loose.path(oid)
    with open(path, "rb") as file:
        content = bytearray(file.read())
    content[5 << 20] ^= 1
    overwrite(path, bytes(content))
    done = ada.push(place.url)
    assert (done.entries, len(done.broken)) == (0, 1)
    assert not [name for name in place.names() if name.startswith("big/")]


def test_what_has_no_name_is_no_remote(ada):
    with pytest.raises(ConfigError, match="remote add origin"):
        ada.push()
    add_remote(ada.root, "origin", "file:///nowhere/at/all")
    with pytest.raises(ConfigError, match="already"):
        add_remote(ada.root, "origin", "file:///x")
    with pytest.raises(ConfigError, match="there is origin"):
        ada.push("backup")


def test_a_place_without_a_push_has_nothing_to_pull(bob, place):
    with pytest.raises(NothingFound, match="nothing was pushed to"):
        bob.pull(place.url)


def test_a_place_with_something_else_is_refused(ada, place):
    place.folder.mkdir()
    (place.folder / "format.json").write_text("{}")
    with pytest.raises(RemoteError, match="something else"):
        ada.push(place.url)


def test_a_view_answers_without_a_request(ada, bob, place):
    (key,) = fill(ada, "m.f", 1)
    ada.push(place.url)
    with open_repository(bob, place.url) as repository:
        repository.refresh()
        before = repository.remote.traffic.requests
        (rowkey,) = [rowkey for rowkey, *_ in repository.view.entries()]
        origin, packed = repository.view.lookup(rowkey)
        assert rowkey[8:].hex() == key
        assert origin.startswith("ed25519:")
        assert packed
        assert repository.view.lookup(bytes(40)) is None
        assert repository.view.age() < 60
        assert repository.remote.traffic.requests == before


def test_one_entry_comes_in_one_request_and_one_that_nobody_has_in_none(ada, bob, place):
    import array

    for n in range(50):
        fill(ada, "m.f", n, value={"a": array.array("d", [n, 1.0] * 300), "n": n}, seconds=0.001)
    fill(ada, "m.f", "plain", seconds=0.001)
    ada.push(place.url)
    with open_repository(bob, place.url) as repository:
        repository.refresh()
        before = repository.remote.traffic.requests
        rowkeys = {entry.record.rowkey: entry for entry in ada.entries()}
        for rowkey in list(rowkeys)[:10]:
            origin, packed = repository.view.lookup(rowkey)
            assert fetch_entry(repository, records.unpack(packed), origin) == (True, "")
        assert repository.remote.traffic.requests - before == 10
        assert repository.view.lookup(bytes(40)) is None
        assert repository.remote.traffic.requests - before == 10
    assert len(keys(bob)) == 10
    assert bob.verify().findings == []


def test_folders_nested_deeper_than_python_recurses_are_walked(ada):
    from scalable_cas.ops.transfer import reach

    class Deep(reach.Reach):
        def _children(self, kind, oid):
            number = int.from_bytes(oid, "big")
            return ((2, (number + 1).to_bytes(32, "big")),) if number < 5000 else ()

    from scalable_cas.format import rows

    fill(ada, "m.f", 1)
    (entry,) = ada.entries()
    row = bytearray(ada.index.ref(entry.record.rowkey))
    row[18] = 1  # a blob, as far as the walk is concerned
    row[60:92] = bytes(32)
    found = Deep(ada).entry(entry.record.rowkey, bytes(row[: rows.REF_FIXED]))
    assert len(found) == 5001
    assert found[-1] == bytes(32)


def test_an_entry_that_shares_a_damaged_object_with_an_earlier_batch_is_left_out_too(
    ada, bob, place, monkeypatch
):
    from scalable_cas.ops.transfer import push_plan

    monkeypatch.setattr(push_plan, "BATCH_ENTRIES", 1)
    shared = noise(100_000)
    fill(ada, "m.f", "first", value=shared, age=10**9)
    fill(ada, "m.f", "second", value=shared)
    fill(ada, "m.f", "whole")
    (oid,) = {entry.record.oid for entry in ada.entries() if entry.size == 100_000}
    overwrite(ada.objects.loose.path(oid), b"x" * 100)
    done = ada.push(place.url)
    assert (done.entries, len(done.broken)) == (1, 2)
    assert bob.pull(place.url).lost == ()


def test_what_vanished_since_the_view_was_made_is_sent_again_before_it_is_relied_on(
    ada, bob, place, monkeypatch
):
    from scalable_cas.ops.transfer import push

    shared = noise(100_000)
    fill(ada, "m.f", 1, value=shared)
    ada.push(place.url)
    fill(ada, "m.f", 2, value=shared)
    with open_repository(ada, place.url) as repository:
        plan = plan_push(repository)
        assert plan.objects == 0
        for pack in place.files("*.pack"):
            pack.unlink()
        monkeypatch.setattr(push, "STALE_SECONDS", -1.0)  # the plan is of yesterday
        assert push.push(repository, plan).entries == 1
    done = bob.pull(place.url)
    assert (done.entries, done.lost) == (2, ())
