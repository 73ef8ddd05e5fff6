"""Ctrl-C at every place of a call where Python can deliver it: nothing that others wait for stays taken, also while
the traceback lives on, as in a notebook.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time

import pytest

import scalable_cas
from scalable_cas.caching.session import current
from scalable_cas.storage.locks import LockFile
from scalable_cas.store import core, writer
from tests.concurrency.functions import value
from tests.support.stores import assert_whole, forget_open_stores

OURS = os.path.dirname(scalable_cas.__file__)


@scalable_cas.cacheable
def quick(n):
    return value(n)


@scalable_cas.cacheable
async def task(n):
    return value(n)


def in_a_loop(n):
    return asyncio.run(task(n))


in_a_loop.is_cached = task.is_cached


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(writer, "THREAD_INTERVAL", 0.002)


class Interrupt:
    """Raise KeyboardInterrupt at the n-th place: where a function of Python begins, or one of C returns."""

    def __init__(self, number):
        self.left = number

    def __call__(self, frame, event, _):
        if event in ("call", "c_return") and frame.f_code.co_filename.startswith(OURS):
            self.left -= 1
            if self.left == 0:
                sys.setprofile(None)
                raise KeyboardInterrupt

    def strikes(self, function, n):
        """Call a function; the exception if it was struck."""
        sys.setprofile(self)
        try:
            function(n)
        except KeyboardInterrupt as error:
            return error
        finally:
            sys.setprofile(None)
        return None


def until(true):
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def others_can_go_on(store, n):
    """What a neighbour, another thread and a fork need is free again, at once or when the thread has written."""
    until(lambda: not (store.flights._owners or store.writer._queue or store.writer.visible))
    until(lambda: not store.index.environment.busy)
    neighbour = LockFile(f"{store.index.path}/users.lock")
    until(lambda: neighbour.try_exclusive(1))
    neighbour.close()
    done = []
    thread = threading.Thread(target=lambda: done.append(quick(n)))
    thread.start()
    thread.join(10)
    assert done == [value(n)]


@pytest.mark.parametrize("function", [quick, in_a_loop])
@pytest.mark.parametrize("at_once", [True, False])
def test_an_interrupt_at_any_place_of_a_miss(store_path, monkeypatch, function, at_once):
    monkeypatch.setattr(core, "SLOW_SECONDS", 0.0 if at_once else 1000.0)
    assert function(0) == value(0)
    kept, number = [], 0
    while True:
        number += 1
        store = current().store
        struck = Interrupt(number).strikes(function, number)
        if struck is None:
            break
        kept.append(struck)
        others_can_go_on(store, -number)
        assert function(number) == value(number)
        store.flush()
        assert function.is_cached(number)
    assert number > 60
    forget_open_stores()
    assert_whole(store_path)


def test_an_interrupt_at_any_place_of_a_hit(store_path):
    assert quick(0) == value(0)
    current().store.flush()
    kept, number = [], 0
    while True:
        number += 1
        struck = Interrupt(number).strikes(quick, 0)
        if struck is None:
            break
        kept.append(struck)
        others_can_go_on(current().store, 0)
    assert number > 10


def test_an_interrupted_commit_loses_none_of_the_results_that_wait(store_path, monkeypatch):
    quick(0)
    store = current().store
    monkeypatch.setattr(writer, "THREAD_INTERVAL", 0.03)  # so that the batch is still there to be interrupted
    number, attempts, struck = 0, 0, True
    while struck:
        attempts += 1
        numbers = range(10 * attempts, 10 * attempts + 5)
        for n in numbers:
            quick(n)
        if store.writer._queue:
            number += 5  # of some 400: each takes a while
            struck = Interrupt(number).strikes(lambda _: store.flush(), 0)
        until(lambda: not store.writer.visible)
        assert all(store.index.ref(rowkey) for rowkey in rowkeys(numbers))
    assert number > 60


def rowkeys(numbers):
    fnid = quick.cache_key.__self__.keyer.fnid
    return [fnid + bytes.fromhex(quick.cache_key(n)) for n in numbers]
