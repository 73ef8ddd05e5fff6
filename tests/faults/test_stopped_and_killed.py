"""Neighbours that stop or die at a bad moment, and an index that must grow: nobody else is held up for long."""

from __future__ import annotations

import os
import signal
import time

import pytest

from scalable_cas import Store
from scalable_cas.storage import environment, environment_files
from tests.concurrency.functions import quick, value
from tests.support.processes import finish, kill, run, start, together
from tests.support.stores import assert_whole, entry_keys, forget_open_stores, quiet, recorded

HOLD = """
import os, signal, sys
from scalable_cas import Store

def hold(*_):
    print("inside", flush=True)
    sys.stdin.readline()

with Store.init(os.environ["SCALABLE_CACHE_DIR"]) as store:
    environment = store.index.environment
    {how}
"""


READING = "environment.read(hold)"
WRITING = "environment.write(hold)"
LOCKED = "with environment.locked(): hold()"


def holder(store_path, how):
    child = start(HOLD.format(how=how), store=store_path)
    assert child.stdout.readline() == "inside\n"
    return child


def test_a_process_that_is_stopped_inside_the_write_lock(store_path):
    """The first write waits some seconds; after that nobody waits for it again and again."""
    quick(1)
    child = holder(store_path, WRITING)
    try:
        os.kill(child.pid, signal.SIGSTOP)
        since = time.monotonic()
        with recorded() as texts:
            assert quick(1) == value(1)
            assert time.monotonic() - since < 3, "a hit waits for nobody"
            for n in range(100, 112):
                assert quick(n, _cache_bypass=True) == value(n)  # each is written at once
            assert time.monotonic() - since < 15, "every write waits anew"
        assert len(texts) == 1
        assert "locked by another process" in texts[0]
        os.kill(child.pid, signal.SIGCONT)
        child.stdin.write("\n")
        child.stdin.flush()
        assert finish(child)[0] == 0
        assert quick(200, _cache_bypass=True) == value(200)
        forget_open_stores()
        assert quick.is_cached(200)
    finally:
        if child.poll() is None:
            kill(child)
        with quiet():
            forget_open_stores()
    assert_whole(store_path)


def test_a_process_that_begins_while_another_is_stopped_inside_the_write_lock(store_path):
    """It cannot open the index; it computes, and waits for that but once."""
    quick(1)
    forget_open_stores()
    child = holder(store_path, WRITING)
    try:
        os.kill(child.pid, signal.SIGSTOP)
        since = time.monotonic()
        with recorded() as texts:
            for n in (1, 2, 3, 1):
                assert quick(n) == value(n)
                time.sleep(0.6)
        assert time.monotonic() - since < 12
        assert len(texts) == 1
        assert "locked by another process" in texts[0]
    finally:
        kill(child)
        with quiet():
            forget_open_stores()
    assert_whole(store_path)


BUSY = """
import os, time
from scalable_cas import Store
with Store.init(os.environ["SCALABLE_CACHE_DIR"]) as store, store.index.environment.locked():
    print("inside", flush=True)
    for n in range(40):
        store.index.write(lambda changes: changes.put_sorted("views", {b"%d" % n: b""}))
        time.sleep(0.05)
"""


@pytest.mark.parametrize("opens", [True, False])
def test_neighbours_that_write_all_the_time_are_no_stopped_neighbour(store_path, monkeypatch, opens):
    """Who waits for its turn waits on while the others commit, here for two seconds in all."""
    monkeypatch.setattr(environment, "WRITE_WAIT", 1.0)
    Store.init(store_path).close()
    ours = Store.open(store_path)
    if not opens:
        assert ours.index.count("records") == 0
    child = start(BUSY, store=store_path)
    try:
        assert child.stdout.readline() == "inside\n"
        with ours:
            ours.index.write(lambda changes: changes.put_sorted("views", {b"last": b""}), 1.0)
            assert sum(1 for _ in ours.index.scan_views(b"")) == 41
        assert finish(child) == (0, "", "")
    finally:
        if child.poll() is None:
            kill(child)


def test_a_process_that_is_killed_inside_the_write_lock(store_path):
    quick(1)
    forget_open_stores()
    for how in (WRITING, LOCKED):
        child = holder(store_path, how)
        kill(child)
        since = time.monotonic()
        assert quick(2, _cache_bypass=True) == value(2)
        assert time.monotonic() - since < 2
        forget_open_stores()
        assert quick.is_cached(2)
        forget_open_stores()
    assert_whole(store_path)


def test_killed_readers_leave_no_trace(store_path):
    """Their slots keep old pages from being used again; whoever opens the index next frees them."""
    quick(1)
    forget_open_stores()
    for _ in range(3):
        kill(holder(store_path, READING))
    with Store.open(store_path) as store:
        assert store.index.environment.env.reader_check() == 0
        for n in range(300):
            quick(n)
            if n % 10 == 0:
                store.flush()
    forget_open_stores()
    assert os.path.getsize(store_path / "index" / "data.mdb") < 4 << 20
    assert_whole(store_path)


def test_a_stopped_reader_holds_nobody_up(store_path):
    quick(1)
    forget_open_stores()
    child = holder(store_path, READING)
    try:
        os.kill(child.pid, signal.SIGSTOP)
        since = time.monotonic()
        for n in range(100):
            quick(n)
        forget_open_stores()
        with Store.open(store_path) as store:
            store.gc()
        assert time.monotonic() - since < 10
    finally:
        kill(child)
    assert_whole(store_path)


GROW = """
import sys
from scalable_cas.storage import environment_files
environment_files.MAP_BYTES = 256 << 10
environment_files.SMALLEST_MAP = 64 << 10
from tests.concurrency.functions import quick, value
import threading
print("ready", flush=True)
sys.stdin.readline()
number = int(sys.argv[1])
def work(first):
    for n in range(first, first + 400):
        assert quick(n) == value(n)
        assert quick(first + (n - first) // 2) == value(first + (n - first) // 2)
threads = [threading.Thread(target=work, args=(10_000 * (number + 1) + 1000 * t,)) for t in range(2)]
for t in threads: t.start()
for t in threads: t.join()
"""


def test_four_processes_fill_a_small_map(store_path):
    """It doubles as it fills, under readers and writers of every process; nobody sees that."""
    together(GROW, 4, store=store_path)
    assert len(entry_keys(store_path)) == 4 * 2 * 400
    assert os.path.getsize(store_path / "index" / "data.mdb") > 256 << 10
    assert_whole(store_path)


def test_a_small_map_opens_a_large_index(store_path, monkeypatch):
    for n in range(1500):
        quick(n)
    forget_open_stores()
    monkeypatch.setattr(environment_files, "MAP_BYTES", 256 << 10)
    monkeypatch.setattr(environment_files, "SMALLEST_MAP", 64 << 10)
    assert all(quick(n) == value(n) for n in range(1500, 1800))
    forget_open_stores()
    assert all(map(quick.is_cached, range(1800)))
    forget_open_stores()
    assert_whole(store_path)


def test_a_process_that_ends_without_closing(store_path):
    run("import os\nfrom tests.concurrency.functions import quick\nquick(1)\nos._exit(0)\n", store=store_path)
    assert quick.is_cached(1)
    forget_open_stores()
    assert_whole(store_path)


def test_names_of_any_length(store_path):
    """A function's name and the names of arguments are no keys of LMDB, which ends at 511 bytes."""
    from scalable_cas import cacheable

    long = "x" * 10_000

    def plain(**kwargs):
        return len(kwargs)

    plain.__qualname__ = long
    wrapped = cacheable(plain)
    assert wrapped(**{long: 1}) == wrapped(**{long: 1}) == 1
    assert wrapped.cache_info()[:2] == (1, 1)
    forget_open_stores()
    assert wrapped.is_cached(**{long: 1})
    forget_open_stores()
    assert_whole(store_path)


def test_a_writer_lock_that_is_busy_for_a_moment_costs_nothing(store_path):
    child = holder(store_path, LOCKED)
    try:
        with recorded() as texts:
            child.stdin.write("\n")
            child.stdin.flush()
            assert quick(1, _cache_bypass=True) == value(1)
        assert texts == []
        assert finish(child)[0] == 0
    finally:
        if child.poll() is None:
            kill(child)
    forget_open_stores()
    assert quick.is_cached(1)
