"""Collectors at once, and what an enemy writes for them to read: nothing that is needed goes, and little is read."""

from __future__ import annotations

import os

import pytest

from scalable_cas import Store, clock
from scalable_cas.errors import RemoteError, StoreVersionError
from scalable_cas.format import header, view_rows
from scalable_cas.format import remote_layout as layout
from scalable_cas.format.segment import ObjectPlace
from scalable_cas.ops.transfer import joining, learning, remote_gc, remote_needs, segments, view
from scalable_cas.ops.transfer import push as pushes
from scalable_cas.ops.transfer.committing import commit
from scalable_cas.ops.transfer.compaction import compact
from scalable_cas.ops.transfer.push_plan import plan_push
from scalable_cas.ops.transfer.remote_gc import execute_remote_gc, plan_remote_gc
from scalable_cas.ops.transfer.remote_needs import Needs
from scalable_cas.ops.transfer.repository import open_repository
from scalable_cas.ops.transfer.segments import LONGEST_READ
from scalable_cas.remotes.files import FileRemote
from scalable_cas.storage.index import Changes
from tests.support.stores import overwrite

from .people import fill, noise, numbers, read

DAY_NS = 86_400 * 10**9


@pytest.fixture
def six(ada, place):
    """A remote with six pushes of Ada's that a joined pack replaces; the old packs."""
    for n in range(6):
        fill(ada, "m.f", n, value=noise(300, n), seconds=1)
        ada.push(place.url)
    old = place.files("*.pack")
    with open_repository(ada, place.url) as repository:
        compact(repository)
    return old


def notices(place):
    return [name for name in place.names() if "notices" in name]


def collect(store, place, grace=0.0):
    with open_repository(store, place.url) as repository:
        return execute_remote_gc(repository, plan_remote_gc(repository, grace))


def cut_off_push(place, tmp_path, value):
    """Leave what a push leaves that was cut short: files that no segment names."""
    with Store.init(tmp_path / "dan") as dan:
        fill(dan, "m.f", 1, value=value)
        dan.push(place.url)
        for file in place.segments():
            file.unlink()


def later(monkeypatch, ns):
    now = clock.now_ns
    monkeypatch.setattr(clock, "now_ns", lambda: now() + ns)


def test_the_notice_of_a_sweep_at_work_is_its_owners(ada, bob, place, six, monkeypatch):
    proven, during = Needs.proven, []

    def slow(self, names):
        monkeypatch.setattr(Needs, "proven", proven)
        during.append(notices(place))
        collect(bob, place, grace=7 * 86_400)  # somebody's nightly one
        during.append(notices(place))
        return proven(self, names)

    monkeypatch.setattr(Needs, "proven", slow)
    assert len(collect(ada, place).replaced) == 6
    assert len(during[0]) == 1
    assert during[1] == during[0]
    assert notices(place) == []


def test_a_push_in_the_midst_of_a_sweep_waits_for_it_though_another_collector_is_done(
    ada, bob, place, tmp_path, monkeypatch
):
    cut_off_push(place, tmp_path, noise(300))
    collect(bob, place)
    fill(ada, "m.f", 1, value=noise(300))
    with open_repository(bob, place.url) as collector, open_repository(ada, place.url) as pusher:
        plan = plan_remote_gc(collector, 0)
        assert len(plan.sweep) == 1
        notice = remote_gc._announce(collector, "sweeping", plan.sweep)  # and has read all segments by now
        settle = remote_gc.settle

        def after_another(repository, names):
            assert names
            assert collect(bob, place).sweep == ()
            return settle(repository, names)

        waited = []

        def finish(seconds):
            waited.append(seconds)
            collector.remote.delete([*plan.sweep, notice])

        monkeypatch.setattr(pushes, "settle", after_another)
        monkeypatch.setattr(clock, "sleep", finish)
        assert pushes.push(pusher, plan_push(pusher)).entries == 1
        assert len(waited) == 1
    assert bob.pull(place.url).lost == ()
    assert read(bob, "m.f", 1) == noise(300)


def test_what_no_segment_names_is_swept_before_packs_are_proved(ada, bob, place, six, monkeypatch):
    """A push that names one of them waits for two minutes, and to prove packs takes hours."""
    orphan = place.folder / layout.pack_name(b"\x05" * 32)
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(bytes(100))
    collect(bob, place, grace=86_400)
    later(monkeypatch, 2 * DAY_NS)
    proven, there = Needs.proven, []

    def look(self, names):
        there.append(orphan.exists())
        return proven(self, names)

    monkeypatch.setattr(Needs, "proven", look)
    done = collect(ada, place)
    assert (len(done.sweep), len(done.replaced)) == (1, 6)
    assert there == [False]


@pytest.fixture
def orphan(ada, bob, place, tmp_path):
    """A pack of a push that was cut short, which a collector has condemned; Ada has its object, too."""
    cut_off_push(place, tmp_path, noise(300))
    collect(bob, place)
    fill(ada, "m.f", 1, value=noise(300))
    (pack,) = place.files("*.pack")
    return pack


def collect_slowly(store, place, monkeypatch, meanwhile):
    """A collection whose sweep has read the segments, and then takes a minute, in which something happens."""
    read_all = Needs.read

    def read_slowly(self):
        read_all(self)
        monkeypatch.setattr(Needs, "read", read_all)
        meanwhile()
        later(monkeypatch, 61 * 10**9)

    with open_repository(store, place.url) as repository:
        plan = plan_remote_gc(repository, 0.0)
        assert len(plan.sweep) == 1
        monkeypatch.setattr(Needs, "read", read_slowly)
        return execute_remote_gc(repository, plan)


def test_a_slow_sweep_looks_again_for_who_waited_in_vain(ada, bob, place, orphan, monkeypatch):
    def push():
        with monkeypatch.context() as patch:
            patch.setattr(remote_gc, "SWEEP_SECONDS", 0.0)  # it has waited, and gives up
            assert ada.push(place.url).entries == 1

    assert collect_slowly(bob, place, monkeypatch, push).sweep == ()
    assert orphan.exists()
    assert bob.pull(place.url).lost == ()
    assert read(bob, "m.f", 1) == noise(300)


def test_a_slow_sweep_that_finds_nothing_new_removes(bob, place, orphan, monkeypatch):
    assert len(collect_slowly(bob, place, monkeypatch, lambda: None).sweep) == 1
    assert not orphan.exists()
    assert notices(place) == []


def test_a_sweep_whose_every_look_takes_too_long_leaves_it_to_the_next(bob, place, orphan, monkeypatch):
    segments_of = Needs._segments

    def slow(self):
        yield from segments_of(self)
        later(monkeypatch, 61 * 10**9)

    with monkeypatch.context() as patch:
        patch.setattr(Needs, "_segments", slow)
        assert collect(bob, place).sweep == ()
    assert orphan.exists()
    assert len(notices(place)) == 1
    assert len(collect(bob, place).sweep) == 1
    assert not orphan.exists()


def test_a_segment_that_cannot_be_read_stops_a_slow_sweep(bob, place, orphan, monkeypatch):
    def write_nonsense():
        file = place.folder / layout.segment_name(1, b"\x07" * 16)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"nonsense")

    with pytest.raises(remote_gc.UnreadableSegments):
        collect_slowly(bob, place, monkeypatch, write_nonsense)
    assert orphan.exists()
    assert len(notices(place)) == 1  # that of what is condemned


def test_a_sweep_of_orphans_that_slept_for_two_days_removes_nothing(bob, place, orphan, monkeypatch):
    """Another collector has removed its notice by then, so that a push that names one would not wait."""
    done = collect_slowly(bob, place, monkeypatch, lambda: later(monkeypatch, 2 * DAY_NS))
    assert done.sweep == ()
    assert orphan.exists()


@pytest.mark.parametrize("slow", [False, True])
def test_few_files_are_removed_at_a_time_where_each_is_slow(bob, place, orphan, monkeypatch, slow):
    removed, delete = [], FileRemote.delete
    plan_names = tuple(layout.pack_name(bytes([n]) * 32) for n in range(200))
    for name in plan_names:
        (place.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (place.folder / name).write_bytes(b"x")
    collect(bob, place)  # which condemns them, and sweeps the other one
    assert not orphan.exists()
    now = clock.monotonic
    passed = [0.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now() + passed[0])

    def counted(self, names):
        removed.append(sum(name.startswith(layout.PACKS) for name in names))
        passed[0] += 5 * slow
        delete(self, names)

    monkeypatch.setattr(FileRemote, "delete", counted)
    assert len(collect(bob, place).sweep) == 200
    sizes = [count for count in removed if count]
    assert sum(sizes) == 200
    assert max(sizes) == (8 if slow else 64)


@pytest.mark.parametrize("how", [RemoteError("u", "n", "the network is gone"), KeyboardInterrupt()])
@pytest.mark.parametrize("kind", ["in a pack", "by itself"])
def test_a_push_that_ends_while_it_waits_for_a_sweep_is_completed_by_the_next(
    ada, bob, place, tmp_path, monkeypatch, how, kind
):
    value = noise(300) if kind == "in a pack" else numbers()
    cut_off_push(place, tmp_path, value)
    collect(bob, place)
    fill(ada, "m.f", 1, value=value)

    def fail(repository, names):
        raise how

    def push():
        with monkeypatch.context() as patch:
            patch.setattr(pushes, "settle", fail)
            with pytest.raises(type(how)):
                ada.push(place.url)

    read_all = Needs.read

    def read_then_push(self):
        read_all(self)
        monkeypatch.setattr(Needs, "read", read_all)
        push()

    with open_repository(bob, place.url) as repository:
        plan = plan_remote_gc(repository, 0.0)
        monkeypatch.setattr(Needs, "read", read_then_push)
        assert len(execute_remote_gc(repository, plan).sweep) >= 1
    ada.push(place.url)
    assert bob.pull(place.url).lost == ()
    found = read(bob, "m.f", 1)
    assert found == value if kind == "in a pack" else list(found) == list(value)


def test_the_notice_of_a_killed_sweep_goes_when_a_day_is_over(ada, bob, place, six, monkeypatch):
    with open_repository(ada, place.url) as repository:
        remote_gc._announce(repository, "sweeping", ["packs/hh/" + "5c" * 32 + ".pack"])
    collect(bob, place)
    later(monkeypatch, DAY_NS - 60 * 10**9)
    collect(bob, place)
    assert len(notices(place)) == 1
    later(monkeypatch, 120 * 10**9)
    collect(bob, place)
    assert notices(place) == []


def test_a_sweep_that_slept_for_half_a_day_removes_nothing(ada, place, six, monkeypatch):
    proven = Needs.proven

    def sleep(self, names):
        later(monkeypatch, DAY_NS // 2)
        return proven(self, names)

    with monkeypatch.context() as patch:
        patch.setattr(Needs, "proven", sleep)
        assert collect(ada, place).replaced == ()
    assert all(pack.exists() for pack in six)
    assert notices(place) == []
    assert len(collect(ada, place).replaced) == 6


@pytest.mark.parametrize("backwards", [False, True])
def test_of_two_joined_packs_of_one_time_that_which_is_read_stays(ada, bob, place, monkeypatch, backwards):
    """In whatever order the segments come, which are a set of random names."""
    with monkeypatch.context() as patch:
        later(patch, 3600 * 10**9)  # what is joined is younger by one than what it joins
        for n in range(4):
            fill(ada, "m.f", n, value=noise(300, n), seconds=1)
            ada.push(place.url)
    with open_repository(ada, place.url) as one, open_repository(bob, place.url) as two:
        for repository in (one, two):
            repository.refresh()
        (mine,), (his,) = joining.choose(one), joining.choose(two)
        assert joining._join(one, mine)
        assert joining._join(two, his[::-1])
        later(monkeypatch, 7200 * 10**9)
        fetch = segments.Source.fetch
        monkeypatch.setattr(
            segments.Source,
            "fetch",
            lambda self, wanted, **how: iter(
                sorted(fetch(self, wanted, **how), key=lambda item: item[0], reverse=backwards)
            ),
        )
        plan = plan_remote_gc(one, 0)
        (read,) = one.view.small_packs()
        assert len(plan.replaced) == 5
        assert not any(read.hex() in name for name in plan.replaced)


def test_a_remote_that_needs_to_be_known_to_write_is_not_collected(ada, place, six):
    with open_repository(ada, place.url) as repository:
        plan = plan_remote_gc(repository, 0)
    file = place.folder / layout.FORMAT_NAME
    known = layout.unpack_format(file.read_bytes(), place.url)
    newer = layout.RemoteFormat(known.remote_id, {"read": [], "write": ["future"], "gc": []})
    overwrite(file, newer.pack())
    before = place.names()
    with open_repository(ada, place.url) as repository:
        with pytest.raises(StoreVersionError):
            plan_remote_gc(repository)
        with pytest.raises(StoreVersionError):
            execute_remote_gc(repository, plan)
    assert place.names() == before


def test_segments_go_only_while_the_joined_file_is_there(ada, bob, place, monkeypatch):
    for n in range(6):
        fill(ada, "m.f", n)
        ada.push(place.url)
    with monkeypatch.context() as patch:  # who joins may not delete
        patch.setattr(FileRemote, "delete", lambda self, names: None)
        with open_repository(ada, place.url) as repository:
            compact(repository)
    with open_repository(ada, place.url) as repository:
        plan = plan_remote_gc(repository)
        assert len(plan.segments) >= 6
        for file in place.files("*.join"):
            file.unlink()
        assert execute_remote_gc(repository, plan).segments == ()
    assert bob.pull(place.url).entries == 6


# --- what an enemy writes ----------------------------------------------------------------------------------


def test_an_object_that_is_said_to_be_in_many_places_keeps_them_all(ada, bob, place, six):
    with open_repository(bob, place.url) as repository:
        repository.refresh()
        (there,) = repository.view.small_packs().values()
        found = there[0][1]
        mine = [repository.view.places(found.oid)[-1].holder, os.urandom(32)]
        spots = [(mine[0], 64 + n) for n in range(40)] + [(mine[1], 64 + n) for n in range(40)]
        commit(repository, (), [found._replace(holder=holder, offset=at) for holder, at in spots])
    with open_repository(ada, place.url) as repository:
        needs = Needs(repository)
        needs.read()
        assert len(needs._spots[found.oid]) == (remote_needs.MOST_SPOTS + 1) * remote_needs._SPOT.size
        assert layout.pack_name(mine[0]) not in needs.replaced
        assert len(needs.replaced) == 5


def huge(place):
    """A file of a gigabyte without content, as a pack; its id."""
    name = b"\x07" * 32
    file = place.folder / layout.pack_name(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as handle:
        handle.truncate(1 << 30)
    return name


def reads(monkeypatch):
    """The lengths of all pieces that are read from now on."""
    lengths, get = [], FileRemote.get

    def counted(self, name, **how):
        lengths.append(how["largest"])
        return get(self, name, **how)

    monkeypatch.setattr(FileRemote, "get", counted)
    return lengths


def test_a_list_of_chunks_is_compared_with_none_of_another_length(ada, bob, place, monkeypatch):
    fill(ada, "m.f", "large", value=noise(1_300_000))
    ada.push(place.url)
    with open_repository(bob, place.url) as repository:
        repository.refresh()
        small = [item for there in repository.view.small_packs().values() for _, item in there]
        (listed,) = [item for item in small if item.coding == header.CHUNKED]
        monkeypatch.setattr(clock, "now_ns", lambda: 1000)
        commit(repository, (), [listed._replace(holder=huge(place), offset=64, length=(1 << 30) - 64)])
        monkeypatch.undo()
    lengths = reads(monkeypatch)
    assert collect(ada, place).replaced == ()
    assert max(lengths) <= LONGEST_READ


def test_no_memory_is_taken_for_what_is_longer_than_objects_in_packs_are(ada, bob, place, six, monkeypatch):
    """Nor does it harm those that are said to lie within it."""
    with open_repository(ada, place.url) as repository:
        repository.refresh()
        (there,) = repository.view.small_packs().values()
        found = [item for _, item in there]
        name = huge(place)
        long = found[0]._replace(offset=64, length=(1 << 30) - 64)
        after = clock.now_ns()
        commit(repository, (), [long, long._replace(holder=name)], after=after)
    lengths = reads(monkeypatch)
    assert bob.pull(place.url).lost == ()
    assert [read(bob, "m.f", n) for n in range(6)] == [noise(300, n) for n in range(6)]
    assert max(lengths) <= LONGEST_READ


def test_who_joins_takes_no_large_objects_of_his_own_because_they_are_said_to_be_small(ada, bob, place):
    for n in range(2):
        fill(ada, "m.f", n, value=numbers(n), seconds=1)  # each in one piece
    fill(ada, "m.f", "chunks", value=noise(12 << 20), seconds=1)
    ada.push(place.url)
    with open_repository(bob, place.url) as repository:
        repository.refresh()
        objects = [key[9:] for key, _ in repository.view._scan(view_rows.OBJECT)]
        whole = [item[0] for item in repository.view.places_of(objects).values()]
        large = [item for item in whole if item.raw_size > 32 << 20]
        assert len(large) == 2
        said = [
            item._replace(holder=bytes([n + 1]) * 32, offset=64, length=64, raw_size=10)
            for n, item in enumerate(large)
        ]
        commit(repository, (), said)
    with open_repository(ada, place.url) as repository:
        sent = repository.remote.traffic.bytes_sent
        compact(repository)
        assert repository.remote.traffic.bytes_sent - sent < joining.MOST_BYTES
        assert list(joining._here(repository, large)) == []
        taken = sum(len(data) for _, data in joining._here(repository, whole))
        assert joining.SMALL_PACK < taken <= joining.MOST_BYTES


def test_a_large_segment_comes_into_the_view_in_several_transactions_also_after_small_ones(
    ada, bob, place, six, monkeypatch
):
    with open_repository(ada, place.url) as repository:
        places = [ObjectPlace(os.urandom(32), 1, 0, 100, b"h" * 32, 64 + 200 * n, 164) for n in range(95)]
        commit(repository, (), places)
    for module in (learning, view):
        monkeypatch.setattr(module, "BATCH", 20)
    fetch, put, rows = segments.Source.fetch, Changes.put_sorted, {}

    def counted(changes, table, new):
        rows[changes] = rows.get(changes, 0) + len(new)
        put(changes, table, new)

    def ordered(self, wanted):
        return iter(sorted(fetch(self, wanted), key=lambda item: len(item[2])))

    monkeypatch.setattr(Changes, "put_sorted", counted)
    monkeypatch.setattr(segments.Source, "fetch", ordered)
    with open_repository(bob, place.url) as repository:
        repository.refresh()
        assert len(repository.view.places_of([item.oid for item in places])) == 95
    assert sum(rows.values()) > 95
    assert max(rows.values()) < 60
