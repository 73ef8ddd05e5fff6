"""An index that is filled anew, also while others store and forget: what was done last holds."""

from __future__ import annotations

import os

import pytest

from scalable_cas import cacheable
from scalable_cas.caching.session import current
from scalable_cas.store import rebuild
from tests.support.stores import forget_open_stores, quiet

now = ["first"]


@cacheable
def state(n):
    return now[0]


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(tmp_path / "store"))
    now[0] = "first"
    state(1)
    state(2)
    store = current().store
    store.flush()
    yield store
    forget_open_stores()


def records(store):
    return [(rowkey, store.index.record(rowkey)) for rowkey, _ in store.index.scan("refs")]


def fill(store):
    rebuild.fill_index(store.index, store.journal, store.objects)


def test_what_is_replaced_after_the_journal_was_read_stays_replaced(store, monkeypatch):
    replay, read = rebuild._replay, []

    def replay_and_replace(*args):
        found = replay(*args)
        if not read:
            now[0] = "second"
            state(1, _cache_bypass=True)
            store.flush()
        read.append(found)
        return found

    monkeypatch.setattr(rebuild, "_replay", replay_and_replace)
    fill(store)
    now[0] = "third"
    assert (state(1), state(2)) == ("second", "first")


def test_what_is_forgotten_while_the_index_is_filled_stays_forgotten(store, monkeypatch):
    put = rebuild._Filling.put_objects

    def forget_and_put(self):
        state.cache_forget(2)
        put(self)

    monkeypatch.setattr(rebuild._Filling, "put_objects", forget_and_put)
    fill(store)
    now[0] = "second"
    assert (state(1), state(2)) == ("first", "second")


@pytest.mark.parametrize("replaced", [True, False])
def test_what_was_computed_anew_does_not_give_way_to_what_it_replaced(store, replaced):
    """Its object is lost; the other result may have been the reason why the user had it computed again."""
    now[0] = "second"
    if replaced:
        state(1, _cache_bypass=True)
    else:
        store.forget([rowkey for rowkey, _ in store.index.scan("refs")])
        state(1)
    store.flush()
    newest = max((record for _, record in records(store)), key=lambda record: record.created)
    os.unlink(store.objects.loose.path(newest.oid))
    fill(store)
    now[0] = "third"
    with quiet():
        assert state(1) == "third"
