"""Forks: with an open store, while another thread writes, of a child, and every way to leave a child."""

from __future__ import annotations

import importlib.util

import pytest

from tests.support.processes import finish, run, start
from tests.support.stores import assert_whole, entry_keys

PRELUDE = """
import os, sys, threading, time, traceback, warnings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)  # 3.12 warns of threads
from scalable_cas.caching.session import current
from tests.concurrency.functions import quick, slow, value

def child(work, leave=sys.exit):
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    except SystemExit:  # a child of the child
        raise
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    leave(0)

def wait(*pids):
    for pid in pids:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""


def test_children_of_an_open_store(store_path):
    run(
        PRELUDE
        + """
for n in range(20):
    quick(n)
def work(first):
    for n in [*range(20), *range(first, first + 50)]:
        assert quick(n) == value(n)
    assert quick.cache_info().misses <= 50, quick.cache_info()
pids = [child(lambda i=i: work(1000 * (i + 1))) for i in range(4)]
for n in range(100, 150):
    assert quick(n) == value(n)
wait(*pids)
assert all(quick.is_cached(n) for i in range(4) for n in range(1000 * (i + 1), 1000 * (i + 1) + 50))
""",
        store=store_path,
    )
    assert len(entry_keys(store_path)) == 20 + 50 + 200
    assert_whole(store_path)


@pytest.mark.parametrize("forks", [12, pytest.param(100, marks=pytest.mark.deep)])
def test_fork_while_threads_read_and_write(store_path, forks):
    run(
        PRELUDE
        + f"forks = {forks}\n"
        + """
stop = False
def writer():
    n = 1_000_000
    while not stop:
        n += 1
        assert quick(n) == value(n)
def reader():
    while not stop:
        for n in range(50):
            assert quick(n) == value(n)
for n in range(50):
    quick(n)
threads = [threading.Thread(target=t, daemon=True) for t in (writer, writer, reader, reader)]
for t in threads:
    t.start()
def work(i):
    for n in [*range(50), *range(1000 * i, 1000 * i + 10)]:
        assert quick(n) == value(n)
for i in range(1, forks + 1):
    wait(child(lambda: work(i)))
stop = True
for t in threads:
    t.join()
assert all(quick.is_cached(n) for i in range(1, forks + 1) for n in range(1000 * i, 1000 * i + 10))
""",
        store=store_path,
        seconds=150 if forks == 12 else 1500,
    )
    assert_whole(store_path)


def test_fork_where_the_system_lets_others_run_in_between(store_path):
    """Between the last look at who reads and the fork, 10 ms in which a thread that waits for the interpreter asks for
    it; it must not get it, or it may be inside a read when the process is forked.
    """
    run(
        """
import ctypes, os
hold = ctypes.PyDLL(None).usleep  # keeps the interpreter, as a thread does that the system does not let run
os.register_at_fork(before=lambda: hold(10_000))
"""
        + PRELUDE
        + """
from scalable_cas.storage import environment
stop = False
def reader():
    while not stop:
        for n in range(50):
            assert quick(n) == value(n)
def writer():
    n = 1_000_000
    while not stop:
        n += 1
        assert quick(n) == value(n)
for n in range(50):
    quick(n)
threads = [threading.Thread(target=t, daemon=True) for t in (writer, reader, reader)]
for t in threads:
    t.start()
before = sys.getswitchinterval()
unlucky = 0
for _ in range(150):
    pid = os.fork()
    if not pid:
        os._exit(1 if environment._abandoned else 0)
    unlucky += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert sys.getswitchinterval() == before
stop = True
for t in threads:
    t.join()
assert unlucky <= 4, unlucky  # the system may take longer than that, too; without care they are ten
""",
        store=store_path,
    )
    assert_whole(store_path)


def test_fork_while_a_thread_stays_inside_a_read(store_path):
    """As a collector that marks. The child can neither use nor close what it inherits: it computes, and says so
    once; it ends; and the reader's place in LMDB's table is still the reader's.
    """
    run(
        PRELUDE
        + """
quick(1)
environment = current().store.index.environment
inside, leave_now = threading.Event(), threading.Event()
def reader():
    with environment.reading():
        inside.set()
        leave_now.wait()
thread = threading.Thread(target=reader)
thread.start()
inside.wait()
before = environment.env.readers()
assert str(os.getpid()) in before
def work():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert quick(1) == value(1) and quick(2) == value(2) and quick(1) == value(1)
    assert len(caught) == 1 and "forked" in str(caught[0].message), [str(w.message) for w in caught]
wait(child(work))
assert environment.env.readers() == before
leave_now.set()
thread.join()
wait(child(lambda: quick(1)))
assert quick(1) == value(1)
""",
        store=store_path,
        seconds=30,
    )
    assert_whole(store_path)


def test_a_child_of_a_child(store_path):
    run(
        PRELUDE
        + """
quick(1)
def inner():
    assert quick(1) == value(1) and quick(3) == value(3)
def outer():
    quick(2)
    wait(child(inner))
    assert quick.is_cached(3)
wait(child(outer))
assert quick.is_cached(2) and quick.is_cached(3)
""",
        store=store_path,
    )
    assert len(entry_keys(store_path)) == 3
    assert_whole(store_path)


def test_a_child_that_leaves_at_once_keeps_what_was_slow(store_path, runs):
    """`os._exit` runs nothing at exit; a result that took 0.1 s is stored before its call returns."""
    run(
        PRELUDE
        + """
quick(1)
wait(child(lambda: slow(2), os._exit))
assert slow.is_cached(2)
wait(child(lambda: None, os._exit))
assert quick(1) == value(1)
quick(5)
""",
        store=store_path,
    )
    assert len(entry_keys(store_path)) == 3
    assert_whole(store_path)


def test_fork_inside_a_cached_function(store_path, runs):
    """The child leaves the parent's key alone; the parent's result is stored, and nobody waits for ever."""
    run(
        PRELUDE
        + """
from scalable_cas import cacheable
@cacheable
def parallel(n):
    wait(child(lambda: quick(n + 1), os._exit), child(lambda: quick(n + 2)))
    return n
assert parallel(1) == parallel(1) == 1
assert parallel.cache_info().misses == 1
""",
        store=store_path,
        seconds=30,
    )
    assert_whole(store_path)


def test_an_explicit_store_in_a_child(store_path):
    run(
        PRELUDE
        + """
from scalable_cas import Store, cacheable
store = Store.init(sys.argv[1])
@cacheable(_store=store)
def work(n):
    return value(n)
work(1)
def inner():
    assert work(1) == value(1) and work(2) == value(2)
    assert store.verify().findings == []
wait(child(inner))
assert work.is_cached(2)
store.close()
""",
        store_path,
    )
    assert_whole(store_path)


def test_a_process_pool_executor(store_path, runs):
    script = store_path.parent / "pool.py"
    script.write_text(
        """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from tests.concurrency.functions import quick, slow, value
if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
            assert list(pool.map(quick, range(100), chunksize=10)) == [value(n) for n in range(100)]
    assert sum(map(quick.is_cached, range(100))) == 100
"""
    )
    run(str(script), store=store_path, PYTHONWARNINGS="ignore::DeprecationWarning")
    assert len(entry_keys(store_path)) == 100
    assert_whole(store_path)


@pytest.mark.skipif(importlib.util.find_spec("joblib") is None, reason="joblib is not installed")
def test_joblib_workers(store_path, runs):
    script = store_path.parent / "jobs.py"
    script.write_text(
        """
from joblib import Parallel, delayed
from tests.concurrency.functions import quick, value
if __name__ == "__main__":
    for _ in range(2):
        assert Parallel(2)(delayed(quick)(n) for n in range(100)) == [value(n) for n in range(100)]
    from joblib.externals.loky import get_reusable_executor
    get_reusable_executor().shutdown(wait=True)
    assert sum(map(quick.is_cached, range(100))) == 100, sum(map(quick.is_cached, range(100)))
"""
    )
    run(str(script), store=store_path)
    assert_whole(store_path)


def test_calls_at_the_very_end_of_a_process(store_path):
    """Exit handlers that run after the stores were closed: the function runs, without its cache, and nobody is told
    of a store that was closed.
    """
    out = run(
        """
import atexit
from tests.concurrency.functions import quick, value
atexit.register(lambda: print(quick(1) == value(1), quick(2) == value(2)))
quick(1)
""",
        store=store_path,
        PYTHONWARNINGS="error",
    )
    assert out == "True True\n"


def test_a_daemon_thread_at_the_end_of_a_process(store_path):
    child = start(
        """
import threading, time
from tests.concurrency.functions import quick, value
def work():
    n = 0
    while True:
        n += 1
        quick(n)
threading.Thread(target=work, daemon=True).start()
time.sleep(0.3)
""",
        store=store_path,
    )
    assert finish(child) == (0, "", "")
    assert_whole(store_path)
