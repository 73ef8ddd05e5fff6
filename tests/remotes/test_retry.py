"""Trying again, without a network: how often, how long, and what then."""

from __future__ import annotations

import pytest

from scalable_cas import clock
from scalable_cas.errors import RemoteError
from scalable_cas.remotes import retry
from scalable_cas.remotes.base import LOOKUP, TRANSFER, Traffic
from scalable_cas.remotes.parallel import Parts, finish
from scalable_cas.remotes.retry import TRIES, Setback, persist


@pytest.fixture
def now(monkeypatch):
    """A clock that only sleeping moves."""
    state = {"now": 0.0}
    monkeypatch.setattr(clock, "monotonic", lambda: state["now"])
    monkeypatch.setattr(clock, "sleep", lambda seconds: state.update(now=state["now"] + seconds))
    return state


@pytest.mark.parametrize("limits", [LOOKUP, TRANSFER])
@pytest.mark.parametrize("kind", TRIES)
def test_no_kind_of_failure_lasts_longer_than_the_limit(now, limits, kind):
    tries = []
    costs = {"silent": limits.read, "refused": limits.connect}.get(kind, 0.01)

    def action(number):
        tries.append(number)
        now["now"] += costs
        raise Setback(kind, RemoteError("u", "n", "r"))

    with pytest.raises(RemoteError, match="u/n: r"):
        persist(action, limits, Traffic())
    assert tries == list(range(1, len(tries) + 1))
    assert 1 <= len(tries) <= TRIES[kind]
    assert len(tries) >= (1 if kind == "final" else 2)
    assert now["now"] <= limits.total


@pytest.mark.parametrize("limits", [LOOKUP, TRANSFER])
def test_busy_until_the_last_moment_and_then_silent_is_still_in_time(now, limits):
    def action(number):
        if now["now"] > limits.total - limits.read - 1:
            now["now"] += limits.read
            raise Setback("silent", RemoteError("u", "n", "silent"))
        raise Setback("busy", RemoteError("u", "n", "busy"))

    with pytest.raises(RemoteError):
        persist(action, limits, Traffic())
    assert now["now"] <= limits.total


@pytest.mark.parametrize("kind", ["broken", "busy", "silent"])
def test_a_long_body_that_broke_off_late_is_sent_again_and_the_whole_is_bounded(now, kind):
    """32 MiB at 1 MiB/s take longer than an operation without a body may."""
    tries = []

    def action(number):
        tries.append(number)
        now["now"] += 30
        raise Setback(kind, RemoteError("u", "n", "r"))

    with pytest.raises(RemoteError):
        persist(action, TRANSFER, Traffic(), 32 << 20)
    assert tries == [1, 2]
    assert now["now"] <= 2 * TRANSFER.total + 30


def test_pauses_grow_and_differ(now, monkeypatch):
    pauses = []
    monkeypatch.setattr(clock, "sleep", pauses.append)

    def action(number):
        raise Setback("busy", RemoteError("u", "n", "r"))

    for _ in range(2):
        with pytest.raises(RemoteError):
            persist(action, TRANSFER, Traffic())
    half = len(pauses) // 2
    assert half == TRIES["busy"] - 1
    for number, pause in enumerate(pauses[:half], 1):
        most = min(4.0, 0.05 * 2**number)
        assert most / 2 <= pause <= most
    assert pauses[:half] != pauses[half:]


def test_success_ends_it_and_tries_are_counted(now):
    traffic = Traffic()

    def action(number):
        if number < 3:
            raise Setback("broken", RemoteError("u", "n", "r"))
        return number

    assert persist(action, TRANSFER, traffic) == 3
    assert traffic.retries == 2


def test_other_errors_pass_at_once(now):
    with pytest.raises(ZeroDivisionError):
        persist(lambda _: 1 // 0, TRANSFER, Traffic())
    assert retry.TRIES["final"] == 1


def test_the_first_failed_part_ends_the_others():
    parts = Parts(2)
    begun = []

    def work(number):
        begun.append(number)
        if number == 1:
            raise ZeroDivisionError
        clock.sleep(0.02)
        return number

    with pytest.raises(ZeroDivisionError):
        finish(parts.start([lambda n=n: work(n) for n in range(50)]))
    assert len(begun) < 50
    assert finish(parts.start([lambda n=n: n for n in range(20)])) == list(range(20))
    parts.close()


def test_parts_run_where_no_thread_can_be_started(monkeypatch):
    """As at the end of the interpreter, when results are still to be sent."""
    from tests.support import processes

    out = processes.run(
        """
        import atexit
        from scalable_cas.remotes.parallel import Parts, finish
        parts = Parts(2)
        finish(parts.start([lambda: 1]))
        atexit.register(lambda: print(finish(parts.start([lambda: 2, lambda: 3]))))
        """
    )
    assert out == "[2, 3]\n"
