"""A store that this process may not write, beside others who do: LMDB's writers cannot see such a reader."""

from __future__ import annotations

import os
import tempfile

import pytest

from scalable_cas import Store
from scalable_cas.caching import session
from scalable_cas.errors import IndexDamaged
from scalable_cas.storage import netfs, private_copy
from tests.concurrency.functions import quick, value
from tests.support.processes import kill, run, start
from tests.support.stores import forget_open_stores, overwrite, recorded

ROWS = 3000

WRITER = f"""
import os, random, sys
from scalable_cas import Store
index = Store.open(sys.argv[1]).index
chance = random.Random(1)
keys = [os.urandom(40) for _ in range({ROWS})]
index.write(lambda changes: changes.put_sorted("records", dict.fromkeys(keys, bytes(300))))
print("ready", flush=True)
while os.getppid() == int(sys.argv[2]):
    def change(changes):
        for at in chance.sample(range({ROWS}), 10):
            changes.drop_entry(keys[at])
            keys[at] = os.urandom(40)
            changes.put_sorted("records", {{keys[at]: bytes(300)}})
    index.write(change)
"""

READER = f"""
import sys
from scalable_cas import Store, clock
end = clock.monotonic() + 2
while clock.monotonic() < end:
    with Store.open(sys.argv[1]) as store:
        assert store.read_only
        for _ in range(20):
            found = sum(1 for _ in store.index.scan("records"))
            assert found == {ROWS}, found
"""

#: As a user sees the store who may not write there; tests may run as root, who may write anywhere.
NO_RIGHTS = """
import os
may = os.access
os.access = lambda place, mode: mode != os.W_OK and may(place, mode)
"""


@pytest.fixture
def read_only(monkeypatch):
    may = os.access
    monkeypatch.setattr(os, "access", lambda place, mode: mode != os.W_OK and may(place, mode))


@pytest.fixture
def stored(store_path):
    for n in range(20):
        quick(n)
    forget_open_stores()
    return store_path


def test_a_writer_that_commits_all_the_time(store_path):
    Store.init(store_path).close()
    writer = start(WRITER, store_path, os.getpid())
    try:
        assert writer.stdout.readline() == "ready\n"
        run(NO_RIGHTS + READER, store_path, seconds=60)
        assert writer.poll() is None
    finally:
        kill(writer)


def test_what_others_store_is_seen_after_a_while(stored, read_only, monkeypatch):
    monkeypatch.setattr(private_copy, "AGE", 0.05)
    monkeypatch.setattr(private_copy, "SHARE", 0)
    with recorded() as texts:
        assert quick(1) == value(1)
        before = len(os.listdir("/dev/fd"))
        for n in range(100, 110):
            run(f"from tests.concurrency.functions import quick\nquick({n})", store=stored)
            while not quick.is_cached(n):
                session.current().store.revive()
        assert [quick(n) for n in range(100, 110)] == [value(n) for n in range(100, 110)]
        assert quick.cache_info()[:2] == (11, 0)
        assert len(os.listdir("/dev/fd")) <= before + 2
    assert texts == []


def test_no_place_for_temporary_files(stored, read_only, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    assert quick(1) == value(1)
    assert quick.cache_info()[:2] == (1, 0)


def test_an_image_that_nobody_writes_to_is_not_copied(stored, read_only, monkeypatch):
    def never(*_args, **_options):
        raise AssertionError("copied")

    monkeypatch.setattr(netfs, "file_system", lambda *_args: "squashfs")
    monkeypatch.setattr(private_copy, "nameless_copy", never)
    assert quick(1) == value(1)
    assert quick.cache_info()[:2] == (1, 0)


def test_a_fork(stored, read_only):
    assert quick(1) == value(1)
    pid = os.fork()
    if not pid:
        fine = quick(1) == value(1) and quick(2) == value(2) and quick.cache_info().misses == 0
        os._exit(0 if fine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert quick(3) == value(3)
    assert quick.cache_info()[:2] == (2, 0)


def test_a_damaged_index(stored, read_only):
    data = stored / "index" / "data.mdb"
    overwrite(data, data.read_bytes()[: data.stat().st_size // 2])
    with pytest.raises(IndexDamaged):
        Store.open(stored)
