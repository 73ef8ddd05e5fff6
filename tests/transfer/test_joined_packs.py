"""Small packs that are joined: by whom, what readers do meanwhile, what a collector removes and what it must not."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from blake3 import blake3

from scalable_cas import Store, clock
from scalable_cas.errors import RemoteDenied
from scalable_cas.format import header
from scalable_cas.format import record as records
from scalable_cas.format import remote_layout as layout
from scalable_cas.format.chunking import ChunkList
from scalable_cas.format.pack import assemble
from scalable_cas.format.segment import LATEST
from scalable_cas.ops.transfer import compaction, joining, remote_gc
from scalable_cas.ops.transfer.committing import commit
from scalable_cas.ops.transfer.compaction import compact
from scalable_cas.ops.transfer.joining import prefix
from scalable_cas.ops.transfer.push import push
from scalable_cas.ops.transfer.push_plan import plan_push
from scalable_cas.ops.transfer.remote_check import verify_remote
from scalable_cas.ops.transfer.remote_gc import execute_remote_gc, plan_remote_gc
from scalable_cas.ops.transfer.repository import open_repository
from scalable_cas.ops.transfer.single import fetch_entry
from scalable_cas.remotes.files import FileRemote
from scalable_cas.storage import incoming, signing
from tests.support.stores import flip, quiet

from .people import fill, keys, noise, read

DAY_NS = 86_400 * 10**9


def value(n):
    return {"n": n, "data": noise(300, n)}


def push_each(store, place, calls):
    for n in calls:
        fill(store, "m.f", n, value=value(n), seconds=0.001)
        store.push(place.url)


def pulled(path, place, calls):
    """Pull everything into a new store, check each value, and return what the pull did."""
    with Store.init(path) as eve:
        done = eve.pull(place.url)
        assert (done.lost, done.refused) == ((), 0)
        for n in calls:
            assert read(eve, "m.f", n) == value(n)
        return done


def collect(store, place, grace=0.0):
    with open_repository(store, place.url) as repository:
        return execute_remote_gc(repository, plan_remote_gc(repository, grace))


def whole(store, place):
    with open_repository(store, place.url) as repository:
        return verify_remote(repository).findings == []


@pytest.fixture
def six(ada, place):
    """A remote with six pushes of Ada's; nothing is joined yet."""
    push_each(ada, place, range(6))
    return place.files("*.pack")


# --- what a reader needs ------------------------------------------------------------------------------------


def test_a_hundred_pushes_are_pulled_in_a_few_requests_and_one_result_too(ada, bob, place, tmp_path):
    push_each(ada, place, range(100))
    done = pulled(tmp_path / "eve", place, range(100))
    assert done.entries == 100
    assert done.requests <= 25
    with open_repository(bob, place.url) as repository:
        repository.refresh()
        before = repository.remote.traffic.requests
        assert before <= 15
        rowkey, *_ = next(repository.view.entries())
        origin, packed = repository.view.lookup(rowkey)
        assert fetch_entry(repository, records.unpack(packed), origin).new
        assert repository.remote.traffic.requests == before + 1
    assert bob.push(place.url).requests == 2
    assert whole(ada, place)


def test_who_has_nothing_of_it_joins_what_others_pushed(ada, place, tmp_path):
    for n in range(30):  # as programs in CI do: each from an empty store
        with Store.init(tmp_path / f"ci{n}") as store:
            push_each(store, place, (n,))
    assert pulled(tmp_path / "eve", place, range(30)).requests <= 20


def test_results_with_large_parts_too_and_their_parts_come_with_them(ada, place, tmp_path):
    import array

    for n in range(30):
        buffers = {"a": array.array("d", [n, 1.0]), "b": n}
        fill(ada, "m.f", n, value=buffers, seconds=0.001)
        fill(ada, "m.g", n, value=noise(100_000, n), seconds=0.001)
        ada.push(place.url)
    with Store.init(tmp_path / "eve") as eve:
        done = eve.pull(place.url)
        assert (done.entries, done.lost) == (60, ())
        assert done.requests <= 40
        for n in range(30):
            assert read(eve, "m.f", n) == {"a": array.array("d", [n, 1.0]), "b": n}
            assert read(eve, "m.g", n) == noise(100_000, n)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_left_grows_with_the_logarithm_and_each_byte_is_copied_as_often(seed):
    chance, sizes, copied = random.Random(seed), [], 0
    for _ in range(1000):
        sizes += [chance.randrange(500, 100_000) for _ in range(8)]
        while True:
            sizes.sort()
            small = [size for size in sizes if size < joining.SMALL_PACK][: joining.MOST_PACKS]
            chosen = prefix(small, joining.MOST_BYTES)
            if not chosen:
                break
            copied += sum(small[:chosen])
            sizes = [*sizes[chosen:], sum(small[:chosen])]
        assert all(size > 2 * sum(small[:at]) for at, size in enumerate(small) if at)
        assert len(small) <= 8  # log3 of 2 MiB / 500
    assert copied <= 8 * sum(sizes)


def test_a_joined_pack_is_preferred_whatever_the_clock_says(ada, place, six, monkeypatch, tmp_path):
    now = clock.now_ns()
    with open_repository(ada, place.url) as repository:
        monkeypatch.setattr(clock, "now_ns", lambda: now - 1000 * DAY_NS)
        assert compact(repository).packs == 1
    monkeypatch.undo()
    assert pulled(tmp_path / "eve", place, range(6)).requests <= 5


def test_entries_keep_the_signer_who_pushed_them(ada, bob, place, six, monkeypatch, tmp_path):
    mine = records.origin_of(signing.signing_key((str(tmp_path / "other/scalable-cas"),)).public)
    with open_repository(ada, place.url) as repository:
        before = {key: repository.view.lookup(key)[0] for key, *_ in repository.view.entries()}
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "other"))
    with open_repository(bob, place.url) as repository:
        assert compact(repository).packs == 1
        after = {key: repository.view.lookup(key)[0] for key, *_ in repository.view.entries()}
    assert after == before
    assert mine not in after.values()
    assert len(after) == 6


# --- what goes wrong ----------------------------------------------------------------------------------------


def test_where_a_joined_pack_is_damaged_or_gone_the_old_ones_serve_and_stay(ada, place, six, tmp_path):
    with open_repository(ada, place.url) as repository:
        compact(repository)
    (joined,) = set(place.files("*.pack")) - set(six)
    flip(joined, 200)
    flip(joined, joined.stat().st_size // 2)
    pulled(tmp_path / "eve", place, range(6))
    assert whole(ada, place)
    collect(ada, place)
    assert sum(pack.exists() for pack in six) >= 1
    pulled(tmp_path / "bob2", place, range(6))
    joined.unlink()
    assert not whole(ada, place)  # of what was whole there, the old packs were removed
    ada.push(place.url)
    assert whole(ada, place)
    pulled(tmp_path / "bob4", place, range(6))


def test_a_pack_that_cannot_be_read_is_left_out(ada, bob, place, six, tmp_path):
    six[0].unlink()
    flip(six[1], 100)
    with open_repository(bob, place.url) as repository:  # he has nothing of it
        compact(repository)
        assert verify_remote(repository).findings
    with Store.init(tmp_path / "eve") as eve, quiet():
        done = eve.pull(place.url)
        assert (done.entries, len(done.lost)) == (4, 2)
    with open_repository(ada, place.url) as repository:
        verify_remote(repository)
    ada.push(place.url)
    assert whole(ada, place)
    pulled(tmp_path / "late", place, range(6))


def test_two_who_join_at_once_and_a_push_that_relies_on_what_is_replaced(ada, bob, place, six, tmp_path):
    fill(bob, "m.f", 2, value=value(2), seconds=0.001)
    fill(bob, "m.g", 2, value=value(2), seconds=0.001)  # the same object
    with open_repository(ada, place.url) as one, open_repository(bob, place.url) as two:
        two.refresh()  # he knows the old places only
        with ThreadPoolExecutor(2) as pool:
            assert [item.packs for item in pool.map(compact, (one, two))] == [1, 1]
    assert collect(ada, place).replaced
    assert not any(pack.exists() for pack in six)
    bob.push(place.url)
    assert whole(ada, place)
    with Store.init(tmp_path / "eve") as eve:
        assert eve.pull(place.url).entries == 7
        assert read(eve, "m.g", 2) == value(2)


def test_a_list_of_chunks_is_copied_from_there_and_not_from_a_store_that_cut_otherwise(
    ada, bob, place, tmp_path
):
    large = noise(1_300_000)
    fill(ada, "m.f", "large", value=large)
    ada.push(place.url)
    push_each(ada, place, range(5))
    with open_repository(bob, place.url) as repository:
        compact(repository)
    with open_repository(ada, place.url) as repository:
        compact(repository, thorough=True)
    collect(ada, place)
    assert whole(ada, place)
    with Store.init(tmp_path / "eve") as eve:
        assert eve.pull(place.url).entries == 6
        assert read(eve, "m.f", "large") == large


def test_a_large_pack_of_which_little_is_still_read_is_verified_too(ada, bob, place):
    large = [noise(1_500_000, n) for n in range(3)]
    for n in range(3):
        fill(ada, "m.f", n, value=large[n])
    for n in (1, 2):
        fill(bob, "m.f", n, value=large[n])
    with open_repository(bob, place.url, create=True) as repository:  # he looks before she pushes
        plan = plan_push(repository)
        ada.push(place.url)
        push(repository, plan)
    assert whole(ada, place)


# --- collecting ---------------------------------------------------------------------------------------------


def test_what_joined_packs_replace_is_removed_after_the_grace_and_nothing_else(
    ada, bob, place, tmp_path, monkeypatch
):
    push_each(ada, place, range(40))
    before = set(place.files("*.pack"))
    done = collect(ada, place, grace=86_400)
    assert (done.replaced, done.condemn) == ((), ())
    assert done.waiting > 30
    assert before <= set(place.files("*.pack"))
    now = clock.now_ns()
    monkeypatch.setattr(clock, "now_ns", lambda: now + 2 * DAY_NS)
    done = collect(ada, place, grace=86_400)
    assert len(done.replaced) >= 40  # and joined ones that were joined again
    assert done.bytes > 0
    assert len(place.files("*.pack")) <= 6
    assert [name for name in place.names() if "notices" in name] == []
    assert whole(ada, place)
    assert pulled(tmp_path / "eve", place, range(40)).requests <= 12
    assert ada.push(place.url).entries == 0
    bob.pull(place.url)
    push_each(bob, place, range(40, 50))
    assert keys(bob) >= keys(ada)
    pulled(tmp_path / "late", place, range(50))


def junk(repository, places):
    """A pack of the right length that holds none of what the segment says is in it."""
    pieces = [(place.oid, bytes(place.length)) for place in places]
    content, spots = assemble(pieces)
    name = blake3(content).digest()
    repository.remote.put(layout.pack_name(name), content)
    claimed = [
        place._replace(holder=name, offset=spots[place.oid][0], length=spots[place.oid][1])
        for place in places
    ]
    commit(repository, (), claimed)


def test_who_says_that_all_lies_elsewhere_makes_the_collector_remove_nothing(ada, bob, place, six, tmp_path):
    with open_repository(bob, place.url) as repository:
        repository.refresh()
        junk(repository, [place for there in repository.view.small_packs().values() for _, place in there])
    with open_repository(ada, place.url) as repository:
        plan = plan_remote_gc(repository, 0)
        assert len(plan.replaced) == 6  # it seems so
        assert execute_remote_gc(repository, plan).replaced == ()
    assert all(pack.exists() for pack in six)
    pulled(tmp_path / "eve", place, range(6))


def test_who_names_places_at_the_end_of_time_or_of_a_large_file_stops_no_joining(ada, bob, place, six):
    with open_repository(bob, place.url) as repository:
        repository.refresh()
        small = [item for there in repository.view.small_packs().values() for _, item in there]
        commit(repository, (), [small[0]._replace(holder=b"h" * 32)], after=LATEST)
        far = small[1]._replace(holder=b"f" * 32)
        commit(repository, (), [far, small[2]._replace(holder=b"f" * 32, offset=1 << 40)])
    with open_repository(ada, place.url) as repository:
        assert compact(repository, thorough=True).packs == 1
        assert compact(repository, thorough=True).packs == 0
    assert whole(ada, place)


def test_another_list_of_chunks_replaces_none(ada, bob, place, tmp_path):
    """It is whole, and it is one; but what it names is nowhere."""
    large = noise(1_300_000)
    fill(ada, "m.f", "large", value=large)
    ada.push(place.url)
    before = set(place.files("*.pack"))
    with open_repository(bob, place.url) as repository:
        repository.refresh()
        small = [item for there in repository.view.small_packs().values() for _, item in there]
        (listed,) = [item for item in small if item.coding == header.CHUNKED]
        half = len(large) // 2
        payload = ChunkList(1, len(large), ((b"x" * 32, half), (b"y" * 32, half))).pack()
        head = header.Header(
            listed.kind, header.CHUNKED, header.NO_FILTER, len(large), len(payload), listed.oid
        )
        data = head.pack() + payload
        assert incoming.check(listed.oid, data).head.coding == header.CHUNKED
        others = [item for item in small if item.oid != listed.oid]
        pieces = [(item.oid, piece(repository, item)) for item in others] + [(listed.oid, data)]
        content, spots = assemble(pieces)
        name = blake3(content).digest()
        repository.remote.put(layout.pack_name(name), content)
        places = [
            item._replace(holder=name, offset=spots[item.oid][0], length=spots[item.oid][1]) for item in small
        ]
        commit(repository, (), places)
    collect(ada, place)
    assert [pack for pack in before if pack.exists()] != []
    with Store.init(tmp_path / "eve") as eve:
        assert eve.verify().findings == []
    with open_repository(ada, place.url) as repository:
        assert repository.view.has_all([listed.oid])
        plan = plan_remote_gc(repository, 0)
        listing = [name for name in plan.replaced if bytes.fromhex(name[-69:-5]) == listed.holder]
        assert listing == []  # it is known to be bad now


def piece(repository, place):
    """The bytes of an object there."""
    return repository.remote.get(
        layout.pack_name(place.holder), largest=place.length, offset=place.offset, length=place.length
    )


def test_what_another_collector_announced_is_not_counted_on(ada, place, six):
    """Else each might rely on what the other removes."""
    with open_repository(ada, place.url) as repository:
        compact(repository)
        (joined,) = set(place.files("*.pack")) - set(six)
        plan = plan_remote_gc(repository, 0)
        assert len(plan.replaced) == 6
        notice = remote_gc._announce(repository, "sweeping", [joined.relative_to(place.folder).as_posix()])
        assert plan_remote_gc(repository, 0).replaced == ()
        assert execute_remote_gc(repository, plan).replaced == ()
        repository.remote.delete([notice])
        assert len(execute_remote_gc(repository, plan_remote_gc(repository, 0)).replaced) == 6
    assert joined.exists()


def test_a_joined_pack_that_is_gone_when_it_is_swept_keeps_the_old_ones(ada, place, six, monkeypatch):
    with open_repository(ada, place.url) as repository:
        compact(repository)
        (joined,) = set(place.files("*.pack")) - set(six)
        plan = plan_remote_gc(repository, 0)
        get = FileRemote.get

        def vanish(self, name, **how):
            if name.endswith(joined.name):
                joined.unlink(missing_ok=True)
            return get(self, name, **how)

        monkeypatch.setattr(FileRemote, "get", vanish)
        assert execute_remote_gc(repository, plan).replaced == ()
    assert all(pack.exists() for pack in six)


def test_joined_files_that_who_joined_could_not_delete_are_removed(ada, place, monkeypatch, tmp_path):
    def refuse(self, names):
        raise RemoteDenied(self.url, "", "this key may not delete")

    monkeypatch.setattr(compaction, "MOST_LOOSE", 2)
    with monkeypatch.context() as patch:
        patch.setattr(FileRemote, "delete", refuse)
        push_each(ada, place, range(20))
    assert len(place.files("*.join")) > 3
    collect(ada, place)
    collect(ada, place)
    assert len(place.files("*.join")) <= 2
    assert len(place.segments()) <= 1
    pulled(tmp_path / "eve", place, range(20))
