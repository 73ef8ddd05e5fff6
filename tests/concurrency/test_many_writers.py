"""Many processes write at once, with and without a collector beside them: no wrong value, no lost entry."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from scalable_cas import Store
from scalable_cas.errors import StoreBusy
from scalable_cas.storage.locks import LockFile
from scalable_cas.store.folding import execute_repack, plan_repack
from tests.support.processes import finish, kill, start, together
from tests.support.stores import assert_whole, entry_keys

from .functions import quick

#: Half of each worker's keys are every worker's, half its own. Reads each of them twice, from wherever.
WORKER = """
import random, sys
from tests.concurrency.functions import large, quick, value
base, number = int(sys.argv[1]), int(sys.argv[2])
keys = [base + n for n in range(250)] + [base + 1000 * (number + 1) + n for n in range(250)]
random.Random(number).shuffle(keys)
print("ready", flush=True)
sys.stdin.readline()
for n in keys:
    assert quick(n) == value(n), n
for n in keys:
    assert quick(n) == value(n), n
for n in keys[:10]:
    assert large(n) == large.__wrapped__(n), n
info = quick.cache_info()
assert info.hits >= 500, info
"""


def rounds(store_path, count):
    expected = 0
    for number in range(count):
        base = 1_000_000 * number
        together(WORKER, 8, base, store=store_path)
        expected += 250 + 8 * 250
        assert len(entry_keys(store_path, "quick")) == expected
        assert_whole(store_path)
    lost = [n for n in range(250) if not quick.is_cached(n)]
    assert not lost


def test_eight_processes_of_five_hundred_keys_half_of_them_shared(store_path):
    rounds(store_path, 3)


@pytest.mark.deep
def test_twenty_rounds(store_path):
    rounds(store_path, 20)


#: Stores entries for a while, and until there is a file ENOUGH; forgets some, uses content again that a collector may be about to take, and says
#: which entries it knows to be stored: those of slow functions at once, the others after a flush.
STORM = """
import os, random, sys, time
from scalable_cas import cacheable
from scalable_cas.caching.session import current
from scalable_cas.store import writer
from tests.concurrency.functions import quick, value

writer.PACK_LEAST = int(sys.argv[3]) if len(sys.argv) > 3 else writer.PACK_LEAST

@cacheable(_version=1)
def shared(n, salt):
    return {"shared": n % 20, "text": "x" * 2000}  # few objects, many entries: they are found again all the time

@cacheable
def blob(n):
    return bytes([n % 7]) * 3000

seconds, number = float(sys.argv[1]), int(sys.argv[2])
rng = random.Random(number)
print("ready", flush=True)
sys.stdin.readline()
ends = time.monotonic() + seconds
n, acknowledged, checks = 0, [], 0
while time.monotonic() < ends or not os.path.exists(os.environ["ENOUGH"]):
    for _ in range(20):
        n += 1
        key = number * 10_000_000 + n
        quick(key); shared(key, number); blob(key)
        acknowledged.append(key)
    current().store.writer.flush()
    for key in rng.sample(acknowledged, min(10, len(acknowledged))):
        assert quick.is_cached(key), key
        assert shared.is_cached(key, number), key
        assert blob.is_cached(key), key
        assert quick(key) == value(key)
        assert blob(key) == bytes([key % 7]) * 3000
        checks += 1
    if rng.random() < 0.5:  # forget some, so that there is garbage, also of shared content
        for key in acknowledged[:10]:
            assert quick.cache_forget(key), key
            assert blob.cache_forget(key), key
            assert shared.cache_forget(key, number), key
        del acknowledged[:10]
lost = [key for key in acknowledged if not (quick.is_cached(key) and shared.is_cached(key, number) and blob.is_cached(key))]
assert not lost, (len(lost), len(acknowledged), lost[:5])
misses = quick.cache_info().misses, shared.cache_info().misses, blob.cache_info().misses
for key in acknowledged:
    quick(key), shared(key, number), blob(key)
assert misses == (quick.cache_info().misses, shared.cache_info().misses, blob.cache_info().misses)
print("entries", n, checks)
"""


def storm(store_path, seconds, *, least=32, repack=False):
    enough = store_path.with_name(
        "enough"
    )  # collections; how many there are in some seconds is a matter of the machine
    writers = [
        start(STORM, seconds, number, least, store=store_path, ENOUGH=str(enough)) for number in range(4)
    ]
    freed: list[int] = []
    folded: list[int] = []
    errors: list[BaseException] = []
    over = threading.Event()

    def collect():
        try:
            with Store.init(store_path) as store:
                while not over.is_set():
                    freed.append(store.gc().objects)
                    if repack:
                        folded.append(execute_repack(store, plan_repack(store)).packs)
        except BaseException as error:
            errors.append(error)

    collector = threading.Thread(target=collect)
    findings = []
    try:
        for child in writers:
            assert child.stdout.readline() == "ready\n"
        for child in writers:
            child.stdin.write("go\n")
            child.stdin.flush()
        collector.start()
        with Store.init(store_path) as store:
            while any(child.poll() is None for child in writers):
                findings += store.verify().findings
                if errors or (len(freed) >= 3 and sum(freed) and bool(sum(folded)) == repack):
                    enough.touch()
        ends = [finish(child) for child in writers]
    finally:
        over.set()
        if collector.ident:
            collector.join()
        for child in writers:
            kill(child)
    assert all(end[0] == 0 and not end[2] for end in ends), ends
    assert not errors, errors
    assert not findings, findings[:3]
    assert len(freed) >= 3
    assert sum(freed) > 0
    assert bool(sum(folded)) == repack
    assert_whole(store_path)


def test_a_collector_beside_four_writers_takes_nothing_that_was_acknowledged(store_path):
    storm(store_path, 5)


def test_where_every_commit_is_a_pack_and_packs_are_folded_all_the_time(store_path):
    storm(store_path, 5, least=2, repack=True)


@pytest.mark.deep
def test_a_minute_of_it(store_path):
    storm(store_path, 60)


@pytest.mark.deep
def test_a_minute_of_packs(store_path):
    storm(store_path, 60, least=2, repack=True)


def test_two_collectors_at_once(store_path):
    for n in range(300):
        quick(n)
    with Store.open(store_path) as store:
        assert store.forget([rowkey for rowkey, _ in store.index.scan("refs")][:150]) == 150
        found: list[object] = []

        def collect():
            try:
                found.append(store.gc().objects)
            except BaseException as error:
                found.append(error)
                raise

        threads = [threading.Thread(target=collect) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(found) == 150
    assert sum(map(quick.is_cached, range(300))) == 150
    assert_whole(store_path)


def test_threads_of_one_process(store_path):
    def work(number):
        for n in range(300):
            key = n if n % 2 else 1000 * (number + 1) + n
            assert quick(key) == quick.__wrapped__(key)

    errors = []

    def guarded(number):
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert quick.cache_info().entries == 150 + 8 * 150
    assert_whole(store_path)


def test_a_result_is_in_the_files_soon_without_another_call(store_path):
    """0.1 s is promised; the machine may be slow, so the test gives it ten times that."""
    for n in range(5):
        quick(n)
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        out = finish(
            start(
                "from tests.concurrency.functions import quick\nprint(sum(map(quick.is_cached, range(5))))\n",
                store=store_path,
            )
        )[1]
        if out == "5\n":
            return
    raise AssertionError(out)


def test_threads_that_get_their_turn_one_after_the_other_are_no_stopped_neighbour(tmp_path):
    with Store.init(tmp_path / "store") as store:

        def write(number):
            for turn in range(3):
                row = {b"%d %d" % (number, turn): b""}
                store.index.write(
                    lambda changes, row=row: (time.sleep(0.02), changes.put_sorted("views", row)), 0.1
                )

        with ThreadPoolExecutor(10) as pool:  # all turns together take six times the limit
            list(pool.map(write, range(10)))
        assert sum(1 for _ in store.index.scan_views(b"")) == 30
        with store.index.environment.locked():
            busy = ThreadPoolExecutor(1).submit(store.index.write, lambda changes: None, 0.1)
            assert isinstance(busy.exception(timeout=5), StoreBusy)


def test_threads_behind_one_that_waits_for_neighbours_wait_too(tmp_path):
    """Neighbours that commit one after the other are no reason to give up, for none of our threads."""
    with Store.init(tmp_path / "store") as store, ThreadPoolExecutor(4) as pool:
        environment = store.index.environment
        neighbour = LockFile(f"{environment.path}/users.lock")
        assert neighbour.exclusive_within(1, 5)
        waiting = [pool.submit(store.index.write, lambda changes: None, 0.5) for _ in range(3)]
        for _ in range(20):
            os.utime(f"{environment.path}/data.mdb")  # as a commit does
            time.sleep(0.1)
        neighbour.close()
        assert [item.exception(timeout=30) for item in waiting] == [None] * 3
