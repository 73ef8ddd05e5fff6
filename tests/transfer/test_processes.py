"""Push and pull in processes of their own: killed at every request, several at once, over a folder and over S3."""

from __future__ import annotations

import os
import shutil
from secrets import token_hex

import pytest

from scalable_cas import Store
from scalable_cas.ops.transfer.remote_check import verify_remote
from scalable_cas.ops.transfer.repository import open_repository
from tests.support.processes import finish, run, start

from .people import MISS, fill, keys, noise, numbers, read

# What ends with SIGKILL right after its n-th request was carried out; prints how many there were else.
COUNTING = """
import os, signal, sys
from scalable_cas import Store
from scalable_cas.remotes.files import FileRemote
path, url, last = sys.argv[1], sys.argv[2], int(sys.argv[3])
count = 0
def counting(method):
    def call(*args, **kwargs):
        global count
        try:
            done = method(*args, **kwargs)
            return iter(list(done)) if method.__name__ == "list" else done
        finally:
            count += 1
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)
    return call
for name in ("get", "get_file", "put", "put_file", "size", "list", "delete"):
    setattr(FileRemote, name, counting(getattr(FileRemote, name)))
"""
KILLED = (
    COUNTING
    + """
from scalable_cas.ops.transfer import compaction, packing, push_plan
packing.TARGET = 3000  # several packs of a few results
packing.BIG = 150_000
push_plan.BATCH_ENTRIES = 6  # and several segments
compaction.MOST_LOOSE = int(sys.argv[4]) if sys.argv[4:] else 8
with Store.open(path) as store:
    store.push(url, jobs=1)
print(count)
"""
)
COLLECTOR = (
    COUNTING
    + """
from scalable_cas.ops.transfer.remote_gc import execute_remote_gc, plan_remote_gc
from scalable_cas.ops.transfer.repository import open_repository
from scalable_cas import clock
now, days = clock.now_ns, int(sys.argv[4]) if sys.argv[4:] else 0
clock.now_ns = lambda: now() + days * 86_400 * 10**9
with Store.open(path) as store, open_repository(store, url, jobs=1) as repository:
    execute_remote_gc(repository, plan_remote_gc(repository, 0))
print(count)
"""
)

PUSH = """
import sys
from scalable_cas import Store
with Store.open(sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    done = store.push(sys.argv[2])
    print(done.entries, done.requests)
"""

PULL = """
import sys
from scalable_cas import Store
from scalable_cas.errors import NothingFound
with Store.init(sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(20):
        try:
            done = store.pull(sys.argv[2])
        except NothingFound:
            continue
        assert not done.lost and not done.faults and not done.refused, done
        assert store.verify().findings == []
    print("done", 0)
"""


def results(store):
    """A dozen entries of all sizes; what each call gave, by its name."""
    found = {n: {"n": n, "data": noise(700, n)} for n in range(9)}
    found |= {"middle": noise(100_000), "large": noise(200_000), "shared": noise(100_000)}
    for name, value in found.items():
        fill(store, "m.f", name, value=value)
    return found


@pytest.mark.parametrize("most_loose", [8, 1])  # at 1 it joins packs and segments, too
def test_a_push_killed_after_any_request_shows_others_whole_entries_or_none_and_the_next_completes_it(
    tmp_path, most_loose
):
    with Store.init(tmp_path / "ada") as ada:
        expected = results(ada)
    total = int(run(KILLED, tmp_path / "ada", f"file://{tmp_path}/all", 0, most_loose))
    assert total >= 10
    assert bool(list((tmp_path / "all").rglob("*.join"))) == (most_loose == 1)
    sent = sum(path.stat().st_size for path in (tmp_path / "all").rglob("*") if path.is_file())
    seen = set()
    for last in range(1, total + 1):
        url = f"file://{tmp_path}/r{last}"
        run(KILLED, tmp_path / "ada", url, last, most_loose, status=-9)
        with Store.init(tmp_path / f"bob{last}") as bob:
            if (tmp_path / f"r{last}/format.json").exists():
                done = bob.pull(url)
                assert (done.lost, done.faults, done.refused) == ((), (), 0), last
                seen.add(done.entries)
            assert bob.verify().findings == [], last
            assert all(read(bob, "m.f", name) in (MISS, value) for name, value in expected.items())
            with Store.open(tmp_path / "ada") as ada:
                again = ada.push(url, jobs=1)
                assert again.bytes <= sent, last
            bob.pull(url)
            assert len(keys(bob)) == len(expected), last
            with open_repository(bob, url) as repository:
                assert verify_remote(repository).findings == [], last
    assert 0 in seen
    assert len(expected) in seen
    assert len(seen) > 2  # a batch of several was committed at one of the kills


def test_a_collector_killed_after_any_request_has_lost_nothing_and_the_next_completes_it(tmp_path):
    with Store.init(tmp_path / "ada") as ada:
        for n in range(12):
            fill(ada, "m.f", n, value={"n": n, "data": noise(700, n)}, seconds=0.001)
            ada.push(f"file://{tmp_path}/first")
    old = len(list((tmp_path / "first").rglob("*.pack")))
    shutil.copytree(tmp_path / "first", tmp_path / "all")
    total = int(run(COLLECTOR, tmp_path / "ada", f"file://{tmp_path}/all", 0))
    assert total >= 12
    for last in range(1, total + 1):
        shutil.copytree(tmp_path / "first", tmp_path / f"r{last}")
        url = f"file://{tmp_path}/r{last}"
        run(COLLECTOR, tmp_path / "ada", url, last, status=-9)
        with Store.init(tmp_path / f"bob{last}") as bob:
            assert bob.pull(url).entries == 12, last
            assert all(read(bob, "m.f", n) == {"n": n, "data": noise(700, n)} for n in range(12))
        for days in (0, 0, 2):  # what a killed one announced is its own for a day
            run(COLLECTOR, tmp_path / "ada", url, 0, days)
        assert len(list((tmp_path / f"r{last}").rglob("*.pack"))) < old, last
        assert not list((tmp_path / f"r{last}").rglob("segments/notices/*")), last
        with Store.open(tmp_path / "ada") as ada, open_repository(ada, url) as repository:
            assert verify_remote(repository).findings == [], last


def test_what_an_interrupted_push_sent_is_not_sent_again(tmp_path):
    with Store.init(tmp_path / "ada") as ada:
        fill(ada, "m.f", "large", value=numbers())
        fill(ada, "m.f", "middle", value=noise(500_000))
    url = f"file://{tmp_path}/remote"
    # format.json asked for and written, the listing, the roots, a large one, and another that is not noted
    run(KILLED, tmp_path / "ada", url, 6, status=-9)
    assert not list((tmp_path / "remote").rglob("*.seg"))
    with Store.open(tmp_path / "ada") as ada:
        done = ada.push(url)
        assert done.entries == 2
        assert done.bytes < 1 << 20


@pytest.fixture(params=["file", "s3"])
def url(request, tmp_path, monkeypatch):
    if request.param == "file":
        return f"file://{tmp_path}/remote"
    started = request.getfixturevalue("servers")("moto")
    for name, value in started.environment.items():
        monkeypatch.setenv(name, value)
    bucket = f"b{token_hex(8)}"
    started.make_bucket(bucket)
    return f"s3://{bucket}/some/prefix"


def test_two_who_push_and_one_who_pulls_at_once(tmp_path, url):
    stores = []
    for name in ("ada", "bob"):
        with Store.init(tmp_path / name) as store:
            fill(store, "m.f", *range(30), seconds=0.001)
            fill(store, f"m.{name}", *range(30), seconds=0.001)
            fill(store, "m.f", "shared", value=noise(300_000))
        stores.append(tmp_path / name)
    with Store.open(stores[0]) as store:  # so that there is one remote, whoever comes first
        store.push(url, function="m.ada")
    children = [start(PUSH, path, url) for path in stores] + [start(PULL, tmp_path / "eve", url)]
    for child in children:
        assert child.stdout.readline() == "ready\n", finish(child)
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    for code, out, err in [finish(child, 120) for child in children]:
        assert code == 0, (out, err)
    with Store.open(tmp_path / "eve") as eve:
        eve.pull(url)
        assert len(keys(eve)) == 91
        assert eve.verify().findings == []
        with open_repository(eve, url) as repository:
            assert verify_remote(repository).findings == []


# Pushes one result at a time, joining all the while.
PUSH_EACH = """
import sys
from scalable_cas import Store
from scalable_cas.ops.transfer import compaction
from tests.transfer.people import fill, noise
compaction.MOST_LOOSE = 2
with Store.open(sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for n in range(15):
        fill(store, "m." + sys.argv[3], n, value=noise(900, n), seconds=0.001)
        store.push(sys.argv[2])
"""

# Removes what is replaced as soon as it is; what is no push's yet it leaves alone.
SWEEP = """
import sys
from scalable_cas import Store
from scalable_cas.ops.transfer.remote_gc import execute_remote_gc, plan_remote_gc
from scalable_cas.ops.transfer.repository import open_repository
with Store.init(sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(12):
        with open_repository(store, sys.argv[2]) as repository:
            plan = plan_remote_gc(repository, 0)._replace(condemn=(), sweep=())
            execute_remote_gc(repository, plan)
"""


def test_two_who_push_and_join_and_two_who_collect_at_once(tmp_path, url):
    names = ("ada", "bob")
    for name in names:
        with Store.init(tmp_path / name) as store:
            fill(store, "m.first", name)
            store.push(url)
    children = [start(PUSH_EACH, tmp_path / name, url, name) for name in names]
    children += [start(SWEEP, tmp_path / name, url) for name in ("one", "two")]
    for child in children:
        assert child.stdout.readline() == "ready\n", finish(child)
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    for code, out, err in [finish(child, 240) for child in children]:
        assert code == 0, (out, err)
    with Store.init(tmp_path / "eve") as eve:
        done = eve.pull(url)
        assert (done.entries, done.lost, done.faults) == (32, (), ())
        for name in names:
            assert [read(eve, f"m.{name}", n) for n in range(15)] == [noise(900, n) for n in range(15)]
        with open_repository(eve, url) as repository:
            assert verify_remote(repository).findings == []


def test_ten_thousand_results_travel_in_at_most_forty_requests(tmp_path, servers, monkeypatch):
    moto = servers("moto")
    for name, value in moto.environment.items():
        monkeypatch.setenv(name, value)
    bucket = f"b{token_hex(8)}"
    moto.make_bucket(bucket)
    from scalable_cas.codecs.base import encode
    from tests.cli.filling import record

    with Store.init(tmp_path / "ada") as ada, Store.init(tmp_path / "bob") as bob:
        for n in range(10_000):
            ada.save(record("m.f", str(n), seconds=0.001), encode(os.urandom(1024)))
        done = ada.push(f"s3://{bucket}/x")
        assert done.entries == 10_000
        assert done.requests <= 40
        again = ada.push(f"s3://{bucket}/x")
        assert (again.entries, again.present) == (0, 10_000)
        assert again.requests <= 3
        done = bob.pull(f"s3://{bucket}/x")
        assert done.entries == 10_000
        assert done.requests <= 40
