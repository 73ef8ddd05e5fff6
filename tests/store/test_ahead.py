"""Large raw arrays are written while they are hashed: nothing of it shows, whatever happens."""

from __future__ import annotations

import os
import shutil

import pytest

from scalable_cas import CacheWarning, Store, clock
from scalable_cas.codecs.base import encode
from scalable_cas.errors import StoreReadOnly
from scalable_cas.format.kinds import BLOB, object_id
from scalable_cas.format.record import Record
from scalable_cas.storage import fs, parallel
from scalable_cas.storage.cutting import ARRAY_BYTES
from scalable_cas.storage.loose import LooseObjects
from scalable_cas.store.telemetry import Counters
from tests.support.stores import leftovers

np = pytest.importorskip("numpy")


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    with Store.init(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def drafted(monkeypatch):
    """How many drafts were begun ahead."""

    begun, real = [], LooseObjects.draft

    def draft(self):
        begun.append(self)
        return real(self)

    monkeypatch.setattr(LooseObjects, "draft", draft)
    return begun


def array(seed=0):
    return np.random.default_rng(seed).random(ARRAY_BYTES // 8 + 1)


def save(store, value, number=1, *, mapped=False):
    record = Record(number.to_bytes(32, "big"), b"ahead000", "ahead", created=clock.now_ns(), seconds=1.0)
    store.save(record, encode(value), mapped=mapped)
    return record.rowkey


def file_of(store, value):
    return store.objects.loose.stat(object_id(BLOB, memoryview(value).cast("B")))


def nothing_is_left(store):
    return leftovers(store.root) == [] and store.objects.loose.drafts == {}


@pytest.mark.parametrize("mapped", [False, True])
def test_what_was_written_ahead_is_the_object(store, drafted, mapped):
    value = array()
    key = save(store, value, mapped=mapped)
    assert len(drafted) == 1
    assert file_of(store, value).st_size == 64 + value.nbytes
    assert np.array_equal(store.read(key, Counters(), None), value)
    assert nothing_is_left(store)
    assert store.verify().findings == []


def test_what_is_there_already_is_kept(store, drafted):
    value = array()
    save(store, value)
    before = file_of(store, value).st_ino
    key = save(store, value, 2)
    save(store, [value, value.copy()], 3)
    assert len(drafted) == 4
    assert file_of(store, value).st_ino == before
    assert np.array_equal(store.read(key, Counters(), None), value)
    assert nothing_is_left(store)


@pytest.mark.parametrize("why", ["one core", "small", "smooth", "bytes"])
def test_what_is_not_written_ahead(store, drafted, why, monkeypatch):
    if why == "one core":
        monkeypatch.setattr(parallel, "cores", lambda: 1)
    value = {
        "one core": array(),
        "small": array()[:-1],
        "smooth": np.sin(np.arange(ARRAY_BYTES // 8 + 1) / 1000),
        "bytes": array().view("u1"),
    }[why]
    assert np.array_equal(store.read(save(store, value), Counters(), None), value)
    assert drafted == []


def test_a_disk_that_fails_meanwhile_is_told_by_the_put(store, monkeypatch):
    value, real, failing = array(), fs.Draft.write, [True]

    def write(self, parts, at=None):
        if failing and at:
            raise StoreReadOnly(store.root, "no space left")
        real(self, parts, at)

    monkeypatch.setattr(fs.Draft, "write", write)
    assert np.array_equal(store.read(save(store, value), Counters(), None), value)  # there was space again
    assert nothing_is_left(store)


def test_a_draft_that_no_put_took_is_gone(store, monkeypatch):
    def full(*_, **__):
        raise StoreReadOnly(store.root, "no space left")

    monkeypatch.setattr(store.objects, "put_all", full)
    save(store, array())
    with pytest.warns(CacheWarning, match="not stored"):
        store.say()
    assert nothing_is_left(store)


def test_a_store_that_is_only_read_is_not_written_to(store, drafted, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(store, "read_only", True)
        save(store, array())
    with pytest.warns(CacheWarning, match="read-only"):
        store.say()
    assert drafted == []


def test_a_damaged_copy_is_replaced(store):
    value = array()
    key = save(store, value)
    path = store.objects.loose.path(object_id(BLOB, memoryview(value).cast("B")))
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.truncate(1000)
    save(store, value)
    assert np.array_equal(store.read(key, Counters(), None), value)
    assert nothing_is_left(store)


def test_a_store_that_was_removed_is_not_made_again(tmp_path, monkeypatch, drafted):
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    with Store.init(tmp_path / "project" / "store") as store:
        shutil.rmtree(tmp_path / "project")
        save(store, array())
        assert drafted == []
    assert not (tmp_path / "project").exists()
