"""Clearing a store on a disk that is completely full: what goes needs some space first."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from types import SimpleNamespace

import pytest

from scalable_cas import Store
from scalable_cas.errors import StoreFull
from scalable_cas.store import ballast
from tests.concurrency.functions import large, quick, value
from tests.support.stores import entry_keys, findings, forget_open_stores, leftovers, quiet

ENTRIES = 800


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", folder], capture_output=True)
    if done.returncode:
        pytest.skip("mount is not allowed here")
    yield folder
    forget_open_stores()
    subprocess.run(["umount", "-l", folder], capture_output=True)


@pytest.fixture
def full(disk, monkeypatch):
    """A store with two functions, and not a block free beside it."""
    store = disk / "store"
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(store))
    for n in range(ENTRIES):
        quick(n)
    for n in range(50):
        large(n)
    forget_open_stores()
    fill(disk)
    return store


def fill(disk):
    with open(disk / "others", "ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def free(disk):
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def test_clear_and_gc(full, disk):
    assert quick.cache_clear() == ENTRIES
    forget_open_stores()
    with Store.open(full) as store:
        assert store.gc().objects == ENTRIES
    assert free(disk) > 0
    assert not (full / "tmp" / "ballast").exists(), "there is not enough for it"
    (disk / "others").unlink()
    with Store.open(full) as store:
        store.gc()
    assert (full / "tmp" / "ballast").stat().st_size == ballast.BYTES
    assert findings(full) == []
    assert leftovers(full) == []
    assert len(entry_keys(full)) == 50
    assert quick(1) == value(1)


def test_gc_by_a_policy(full, disk):
    with Store.open(full) as store:
        done = store.gc(keep_last=3)
    assert done.entries == ENTRIES + 50 - 6
    assert free(disk) > 0
    assert findings(full) == []
    assert len(entry_keys(full)) == 6


def test_without_the_reserve(full, disk):
    """What can be done is done, and the rest is an error; nothing breaks."""
    ballast.release(full)
    fill(disk)
    with quiet(), suppress(StoreFull):
        quick.cache_clear()
    forget_open_stores()
    (disk / "others").unlink()
    assert findings(full) == []
    quick.cache_clear()
    forget_open_stores()
    assert len(entry_keys(full)) == 50
    assert findings(full) == []


def test_the_reserve_is_made_only_where_there_is_plenty(disk):
    subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
    Store.init(disk / "store").close()
    assert leftovers(disk / "store") == []
    assert not (disk / "store" / "tmp" / "ballast").exists()


def test_batches():
    seen = []

    def work(batch, last):
        seen.append((list(batch), last))

    ballast.in_batches("/nowhere", [], work, 5)
    ballast.in_batches("/nowhere", [1, 2, 3], work, 2)
    assert seen == [([], True), ([1, 2], False), ([3], True)]

    sizes = []

    def full_for_many(batch, last):
        sizes.append(len(batch))
        if len(batch) > ballast.FEW:
            raise StoreFull("x", "full")

    ballast.in_batches("/nowhere", list(range(40)), full_for_many, 30)
    assert sizes == [30, 16, 16, 8]

    def always_full(batch, last):
        raise StoreFull("x", "full")

    with pytest.raises(StoreFull):
        ballast.in_batches("/nowhere", [1], always_full, 1)


@pytest.mark.parametrize(("megabytes", "made"), [(4, False), (9, True), (4_000, True), (5_000, False)])
def test_a_reserve_is_made_where_space_becomes_scarce(store_path, monkeypatch, megabytes, made):
    found = SimpleNamespace(f_bavail=100_000 << 8, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda path: found)
    assert quick(1) == value(1)
    forget_open_stores()
    assert not (store_path / "tmp" / "ballast").exists()
    found.f_bavail = megabytes << 8
    assert quick(2) == value(2)
    forget_open_stores()
    assert (store_path / "tmp" / "ballast").exists() is made
