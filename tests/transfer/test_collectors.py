"""Collectors at once, and what an enemy writes for them to read: nothing that is needed goes, and little is read."""

from __future__ import annotations

import pytest

from scalable_cas import clock
from scalable_cas.ops.transfer import joining, remote_gc, segments
from scalable_cas.ops.transfer.compaction import compact
from scalable_cas.ops.transfer.remote_gc import execute_remote_gc, plan_remote_gc
from scalable_cas.ops.transfer.remote_needs import Needs
from scalable_cas.ops.transfer.repository import open_repository

from .people import fill, noise

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
            lambda self, wanted: iter(
                sorted(fetch(self, wanted), key=lambda item: item[0], reverse=backwards)
            ),
        )
        plan = plan_remote_gc(one, 0)
        (read,) = one.view.small_packs()
        assert len(plan.replaced) == 5
        assert not any(read.hex() in name for name in plan.replaced)
