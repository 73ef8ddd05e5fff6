"""Of many calls of one key at once, in processes, threads and tasks, one runs the function."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from scalable_cas import cacheable
from tests.support.processes import finish, kill, run, start, together
from tests.support.stores import assert_whole, entry_keys

from .functions import gated, note, slow, value

FIFTY = """
import random, sys
from tests.concurrency.functions import slow, value
order, method, number = sys.argv[1:]
keys = list(range(50))
if order == "mixed":
    random.Random(number).shuffle(keys)
print("ready", flush=True)
sys.stdin.readline()
for n in keys:
    assert slow(n) == value(n)
"""

POOL = """
import multiprocessing, sys
from tests.concurrency.functions import slow, value
if __name__ == "__main__":
    with multiprocessing.get_context(sys.argv[1]).Pool(8) as pool:
        found = pool.map(slow, [n for n in range(50) for _ in range(8)], chunksize=1)
    assert found == [value(n) for n in range(50) for _ in range(8)]
"""

GATED = """
import sys
from tests.concurrency.functions import gated, value
print("ready", flush=True)
sys.stdin.readline()
assert gated(1) == value(1)
print("done", flush=True)
"""


def until(condition, seconds=30):
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.005)


@pytest.mark.parametrize("order", ["same", "mixed"])
def test_eight_processes_and_fifty_keys_are_fifty_runs(store_path, runs, order):
    """On an empty store, which all of them make at the same moment."""
    together(FIFTY, 8, order, "-", store=store_path)
    assert sorted(map(int, runs.lines())) == list(range(50))
    assert len(entry_keys(store_path)) == 50
    assert_whole(store_path)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_of_eight_workers_runs_each_key_once(store_path, runs, method):
    script = store_path.parent / "pool.py"  # spawn imports its parent's main module again: it must be a file
    script.write_text(POOL)
    run(str(script), method, store=store_path)
    assert sorted(map(int, runs.lines())) == list(range(50))
    assert_whole(store_path)


def test_when_the_owner_is_killed_another_computes(store_path, runs, gate):
    children = [start(GATED, store=store_path) for _ in range(4)]
    try:
        for child in children:
            assert child.stdout.readline() == "ready\n"
            child.stdin.write("go\n")
            child.stdin.flush()
        until(lambda: len(runs.lines()) == 1)
        owner = int(runs.lines()[0].split()[1])
        os.kill(owner, signal.SIGKILL)
        until(lambda: len(runs.lines()) == 2)
        gate.touch()
        ends = {child.pid: finish(child, 30) for child in children}
    finally:
        for child in children:
            kill(child)
    assert ends.pop(owner)[0] == -signal.SIGKILL
    assert all(end == (0, "done\n", "") for end in ends.values()), ends
    assert len(runs.lines()) == 2
    assert_whole(store_path)


def test_when_the_owner_is_stopped_the_others_compute(store_path, runs, gate):
    """A debugger, a frozen job: whoever waits must not wait for it."""
    owner = start(GATED, store=store_path)
    other = start(GATED, store=store_path)
    try:
        for child in (owner, other):
            assert child.stdout.readline() == "ready\n"
        owner.stdin.write("go\n")
        owner.stdin.flush()
        until(lambda: len(runs.lines()) == 1)
        os.kill(owner.pid, signal.SIGSTOP)
        gate.touch()
        other.stdin.write("go\n")
        other.stdin.flush()
        assert finish(other, 30)[:2] == (0, "done\n")
        os.kill(owner.pid, signal.SIGCONT)
        assert finish(owner, 30)[:2] == (0, "done\n")
    finally:
        for child in (owner, other):
            kill(child)
    assert_whole(store_path)


def test_threads_share_one_run(store_path, runs, gate):
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(gated, 1) for _ in range(8)]
        until(runs.lines)
        gate.touch()
        values = [future.result(30) for future in found]
    assert values == [value(1)] * 8
    assert len(runs.lines()) == 1
    assert len({id(item) for item in values}) == 8, "each caller gets an object of its own"


def test_tasks_share_one_run(store_path, runs):
    @cacheable
    async def work(n):
        note(n)
        await asyncio.sleep(0.1)
        return value(n)

    async def main():
        return await asyncio.gather(*(work(n % 5) for n in range(40)))

    assert asyncio.run(main()) == [value(n % 5) for n in range(40)]
    assert sorted(runs.lines()) == ["0", "1", "2", "3", "4"]


def test_after_a_cancelled_task_the_next_one_runs(store_path, runs):
    @cacheable
    async def work(n, event):
        note(n)
        await event.wait()
        return value(n)

    work_ = cacheable(_ignore="event")(work.__wrapped__)

    async def main():
        event = asyncio.Event()
        first = asyncio.create_task(work_(1, event))
        while not runs.lines():
            await asyncio.sleep(0)
        second = asyncio.create_task(work_(1, event))
        await asyncio.sleep(0.01)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        event.set()
        return await asyncio.wait_for(second, 10)

    assert asyncio.run(main()) == value(1)
    assert runs.lines() == ["1", "1"]


def test_a_waiting_task_that_is_cancelled_leaves_the_owner_alone(store_path, runs):
    async def plain(n, event):
        note(n)
        await event.wait()
        return value(n)

    work = cacheable(_ignore="event")(plain)

    async def main():
        event = asyncio.Event()
        first = asyncio.create_task(work(1, event))
        while not runs.lines():
            await asyncio.sleep(0)
        second = asyncio.create_task(work(1, event))
        await asyncio.sleep(0.01)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        third = asyncio.create_task(work(1, event))
        await asyncio.sleep(0.01)
        event.set()
        return await first, await third

    assert asyncio.run(main()) == (value(1), value(1))
    assert runs.lines() == ["1"]


def test_an_exception_is_the_callers_and_the_next_one_runs(store_path, runs):
    started = threading.Barrier(4)

    @cacheable
    def work(n):
        note(n)
        if len(runs.lines()) < 3:
            raise KeyError(n)
        return value(n)

    def call():
        started.wait()
        try:
            return work(7)
        except KeyError as error:
            return error.args

    with ThreadPoolExecutor(4) as pool:
        ends = list(pool.map(lambda _: call(), range(4)))
    assert sorted(map(repr, ends)) == sorted(map(repr, [(7,), (7,), value(7), value(7)]))
    assert len(runs.lines()) == 3
    assert work(7) == value(7)
    assert len(runs.lines()) == 3


def test_a_function_may_call_itself(store_path, runs):
    @cacheable
    def total(n):
        note(n)
        return 0 if n == 0 else n + total(n - 1)

    assert total(30) == 465
    assert total(30) == 465
    assert sorted(map(int, runs.lines())) == list(range(31))


def test_a_call_of_the_same_key_inside_itself_does_not_wait_for_itself(store_path, runs):
    @cacheable
    def work(n):
        note(n)
        return work(n) if len(runs.lines()) < 3 else value(n)

    assert work(1) == value(1)
    assert len(runs.lines()) == 3


@pytest.mark.parametrize("between", ["gather", "task", "thread"])
def test_nor_does_one_in_a_task_or_a_thread_that_was_started_inside(store_path, runs, between):
    @cacheable
    async def work(n):
        note(n)
        if len(runs.lines()) > 1:
            return value(n)
        if between == "gather":
            return (await asyncio.gather(work(n), work(n)))[0]
        if between == "task":
            return await asyncio.create_task(work(n))
        return await asyncio.to_thread(asyncio.run, work(n))

    assert asyncio.run(asyncio.wait_for(work(1), 10)) == value(1)
    assert asyncio.run(work(1)) == value(1)
    assert len(runs.lines()) <= 3


def test_a_coroutine_in_a_loop_that_is_not_asyncios(store_path, runs):
    @cacheable
    async def work(n):
        note(n)
        return value(n)

    for _ in range(2):
        with pytest.raises(StopIteration) as end:
            work(1).send(None)
        assert end.value.value == value(1)
    assert runs.lines() == ["1"]


def test_slow_is_a_run_each_without_a_cache(store_path, runs, monkeypatch):
    """What the other tests count on: the function does note its runs."""
    monkeypatch.setenv("SCALABLE_CACHE", "off")
    assert slow(1) == slow(1) == value(1)
    assert runs.lines() == ["1", "1"]
