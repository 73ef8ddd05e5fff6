"""Garbage of a remote: what is announced, what is removed, and what a push does meanwhile."""

from __future__ import annotations

import pytest

from scalable_cas import Store, clock
from scalable_cas.ops.transfer import remote_gc
from scalable_cas.ops.transfer.push import push
from scalable_cas.ops.transfer.push_plan import plan_push
from scalable_cas.ops.transfer.remote_check import verify_remote
from scalable_cas.ops.transfer.remote_gc import UnreadableSegments, execute_remote_gc, plan_remote_gc
from scalable_cas.ops.transfer.repository import open_repository
from tests.cli.conftest import cas, path  # noqa: F401 - fixtures
from tests.support.stores import flip

from .people import fill, noise, numbers, read

DAY = 86_400


@pytest.fixture
def left(ada, bob, place):
    """A remote with Ada's results, and what an interrupted push of Bob's left; his files."""
    fill(ada, "m.f", *range(3))
    ada.push(place.url)
    before = set(place.files())
    fill(bob, "m.g", "large", value=numbers())
    fill(bob, "m.g", "small")
    bob.push(place.url)
    new = set(place.files()) - before
    (segment,) = [file for file in new if file.suffix == ".seg"]
    segment.unlink()
    return sorted(new - {segment})


def collect(store, place, grace=0.0):
    with open_repository(store, place.url) as repository:
        return execute_remote_gc(repository, plan_remote_gc(repository, grace))


def notices(place):
    return [name for name in place.names() if name.startswith("segments/notices/")]


def test_what_nobody_names_is_announced_first_and_removed_after_the_grace(ada, bob, place, left, monkeypatch):
    done = collect(ada, place, grace=DAY)
    assert (len(done.condemn), done.sweep) == (2, ())
    assert all(file.exists() for file in left)
    done = collect(ada, place, grace=DAY)
    assert (done.condemn, done.sweep, done.waiting) == ((), (), 2)
    now = clock.now_ns()
    monkeypatch.setattr(clock, "now_ns", lambda: now + 2 * DAY * 10**9)
    done = collect(ada, place, grace=DAY)
    assert len(done.sweep) == 2
    assert done.bytes > 33 << 20
    assert not any(file.exists() for file in left)
    assert notices(place) == []
    with open_repository(ada, place.url) as repository:
        assert verify_remote(repository).findings == []
    assert bob.pull(place.url).entries == 3


def test_a_clock_that_jumped_back_removes_nothing(ada, place, left, monkeypatch):
    collect(ada, place, grace=0)
    now = clock.now_ns()
    monkeypatch.setattr(clock, "now_ns", lambda: now - 100 * DAY * 10**9)
    assert collect(ada, place, grace=0).sweep == ()


def test_a_plan_changes_nothing(ada, place, left):
    before = place.names()
    with open_repository(ada, place.url) as repository:
        plan = plan_remote_gc(repository)
    assert len(plan.condemn) == 2
    assert place.names() == before


def test_what_is_named_since_it_was_announced_is_kept(ada, bob, place, left, tmp_path):
    collect(ada, place)
    bob.push(place.url)  # it was forgotten that these had been sent: they are announced, and written again
    done = collect(ada, place)
    assert done.sweep == ()
    with Store.init(tmp_path / "eve") as eve:
        eve.pull(place.url)
        assert (read(eve, "m.g", "large") == numbers()).all()


def test_what_is_named_while_it_is_swept_is_kept(ada, bob, place, left, tmp_path):
    collect(ada, place)
    with open_repository(ada, place.url) as repository:
        plan = plan_remote_gc(repository, 0)
        assert len(plan.sweep) == 2
        bob.push(place.url)
        assert execute_remote_gc(repository, plan).sweep == ()
    with Store.init(tmp_path / "eve") as eve:
        assert eve.pull(place.url).entries == 5


def test_a_push_in_the_midst_of_a_sweep_puts_back_what_it_lost(ada, bob, place, left, tmp_path, monkeypatch):
    """The sweep has read all segments; then the push writes its own; then the sweep removes."""
    collect(ada, place)
    monkeypatch.setattr(clock, "sleep", lambda seconds: finish())
    with open_repository(ada, place.url) as collector, open_repository(bob, place.url) as pusher:
        plan = plan_remote_gc(collector, 0)
        notice = remote_gc._announce(collector, "sweeping", plan.sweep)
        pushing = plan_push(pusher)

        def finish():
            collector.remote.delete(plan.sweep)
            collector.remote.delete([notice])

        assert push(pusher, pushing).entries == 2
    with open_repository(bob, place.url) as repository:
        assert verify_remote(repository).findings == []
    with Store.init(tmp_path / "eve") as eve:
        assert eve.pull(place.url).entries == 5


def test_what_is_condemned_is_not_relied_on(ada, bob, place):
    shared = noise(100_000)
    fill(ada, "m.f", 1, value=shared)
    ada.push(place.url)
    fill(bob, "m.g", 1, value=shared)
    with open_repository(bob, place.url) as repository:
        assert plan_push(repository).objects == 0
        names = [name for name in place.names() if name.startswith("packs/")]
        remote_gc._announce(repository, "condemned", names)
        assert plan_push(repository).objects == 1


def test_a_segment_that_cannot_be_read_stops_it(ada, place, left):
    flip(place.segments()[0], 200)
    before = place.names()
    with pytest.raises(UnreadableSegments):
        collect(ada, place)
    assert place.names() == before


def test_segments_that_are_in_a_joined_file_too_are_removed(ada, bob, place):
    from scalable_cas.ops.transfer.compaction import compact

    for n in range(3):
        fill(ada, "m.f", n)
        ada.push(place.url)
    copies = {file: file.read_bytes() for file in place.segments()}
    with open_repository(ada, place.url) as repository:
        compact(repository)
    for file, content in copies.items():  # as where the one who joined could not delete
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
    assert len(collect(ada, place).segments) == 3
    assert place.segments() == []
    assert bob.pull(place.url).entries == 3


def test_the_command_plans_announces_and_removes(cas, left, place, path):  # noqa: F811
    cas("remote", "add", "origin", place.url)
    done = cas("gc", "--remote", "origin", "--dry-run")
    assert "files to announce: 2" in done.lines
    assert cas("gc", "--remote", "origin").err.startswith("announced 2 files")
    assert cas("gc", "--remote", "origin", "--json").json["plan"]["files_waiting"] == 2
    assert cas("gc", "--remote", "origin", "--grace", "0s").code == 0
    assert not any(file.exists() for file in left)
    assert cas("gc", "--grace", "1d").code == 2
    assert cas("gc", "--remote", "origin", "--older-than", "1d").code == 2
