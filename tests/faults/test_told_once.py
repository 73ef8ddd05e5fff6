"""One `CacheWarning` per cause and process (CONTRACT 2): a full disk is one cause, and so is one damaged object."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from scalable_cas import cacheable
from scalable_cas.errors import ObjectUnreadable, StoreReadOnly
from scalable_cas.store.saying import cause_of
from tests.support.stores import flip, forget_open_stores, object_files, recorded

pytestmark = pytest.mark.usefixtures("store_path")


@cacheable
def noise(seed):
    return np.random.default_rng(seed).bytes(1_000_000)


@cacheable(_mmap="r")
def line(seed):
    return np.random.default_rng(seed).random(100_000)


def test_a_full_disk_is_said_once_whatever_was_to_be_stored(store_path, tmp_path, monkeypatch):
    assert noise(0) == noise.__wrapped__(0)

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    monkeypatch.setattr(os, "pwrite", full)
    monkeypatch.setattr(os, "writev", full)
    with recorded() as texts:
        for seed in range(1, 6):
            assert noise(seed) == noise.__wrapped__(seed)
            assert line(seed).sum() == line.__wrapped__(seed).sum()
        monkeypatch.undo()
    assert len(texts) == 1, texts
    assert "No space left on device; results are returned, but not stored" in texts[0]


def test_one_fault_of_a_place_is_one_cause_whichever_file_met_it():
    assert cause_of(StoreReadOnly("/a/1", "No space left")) == cause_of(
        StoreReadOnly("/a/2", "No space left")
    )
    assert cause_of(StoreReadOnly("/a/1", "No space left")) != cause_of(
        StoreReadOnly("/a/1", "it is read-only")
    )
    assert cause_of(ObjectUnreadable("ab", "EIO")) == cause_of(ObjectUnreadable("cd", "EIO"))
    assert cause_of(OSError(5, "I/O", "/x")) == cause_of(OSError(5, "I/O", "/y"))


@pytest.mark.parametrize("function", [noise, line])
def test_one_damaged_object_is_said_once_though_a_miss_looks_twice(store_path, function):
    function(1)
    forget_open_stores()
    file = max(object_files(store_path), key=os.path.getsize)
    flip(file, os.path.getsize(file) // 2)
    with recorded() as texts:
        assert np.array_equal(function(1), function.__wrapped__(1))
    assert len(texts) == 1, texts
    assert "is damaged" in texts[0]
    assert "the function runs and the object is replaced" in texts[0]


def test_a_missing_object_is_said_with_what_happens_now(store_path):
    noise(1)
    forget_open_stores()
    for file in object_files(store_path):
        os.remove(file)
    with recorded() as texts:
        assert noise(1) == noise.__wrapped__(1)
    assert len(texts) == 1, texts
    assert texts[0].endswith("the function runs")
