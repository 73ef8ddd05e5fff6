"""Work on parts of one object by several threads: when a call is over, nobody works any more, however it ended."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from scalable_cas.storage import parallel


class Interrupted(BaseException):
    """As Ctrl-C: no Exception."""


@pytest.fixture
def interrupted():
    """Let a signal handler raise again and again, until the block ends."""

    def raise_it(*_):
        raise Interrupted

    before = signal.signal(signal.SIGALRM, raise_it)
    yield lambda seconds, again: signal.setitimer(signal.ITIMER_REAL, seconds, again)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def slowly(ended):
    """A job of a helper that takes a while; the caller has no such patience."""

    def job(*_):
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.5)
            ended.append(True)

    return job


WAYS = {
    "each": lambda job: parallel.each(job, [1, 2], 2),
    "in_order": lambda job: parallel.in_order([(1, [job, job])], lambda _: None, 2),
}


@pytest.mark.parametrize("again", [0, 0.1])
@pytest.mark.parametrize("way", WAYS)
def test_an_interrupt_waits_for_those_who_work(interrupted, way, again):
    ended: list[bool] = []
    begun = threading.Event()

    def job(*_):
        if threading.current_thread() is threading.main_thread():
            begun.wait(10)
        else:
            begun.set()
            slowly(ended)()

    interrupted(0.1, again)
    with pytest.raises(Interrupted):
        WAYS[way](job)
    assert ended == [True]


@pytest.mark.parametrize("way", WAYS)
def test_an_interrupt_while_a_thread_is_started_leaves_none_that_works(monkeypatch, way):
    start, begun = threading.Thread.start, []

    def interrupted_start(self):
        start(self)
        raise Interrupted

    def job(*_):
        begun.append(threading.current_thread())

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted_start)
        with pytest.raises(Interrupted):
            WAYS[way](job)
    time.sleep(0.2)
    assert begun == []


def test_an_error_of_the_caller_waits_too():
    ended: list[bool] = []
    both = threading.Barrier(2)

    def job(_):
        both.wait(10)
        slowly(ended)()
        if threading.current_thread() is threading.main_thread():
            raise Interrupted

    with pytest.raises(Interrupted):
        parallel.each(job, [1, 2], 2)
    assert ended == [True]


def test_what_goes_wrong_while_steps_are_made_is_raised_whoever_made_them():
    def steps():
        yield 1, [lambda: time.sleep(0.001)]
        raise LookupError("no more")

    for _ in range(200):
        with pytest.raises(LookupError):
            parallel.in_order(steps(), lambda _: None, 2)


def test_what_goes_wrong_in_a_helper_is_raised_though_the_caller_was_done(monkeypatch):
    stop = parallel._Line.stop

    def late(self, error):
        if error is not None:
            time.sleep(0.2)
        stop(self, error)

    def steps():
        if threading.current_thread() is threading.main_thread():
            time.sleep(0.1)  # the helper asks first
        raise LookupError("no more")
        yield

    class Slow(parallel._Line):
        def follow(self, then):
            time.sleep(0.1)
            super().follow(then)

    monkeypatch.setattr(parallel, "_Line", Slow)
    monkeypatch.setattr(Slow, "stop", late)
    with pytest.raises(LookupError):
        parallel.in_order(steps(), lambda _: None, 2)
