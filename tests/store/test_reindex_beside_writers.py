"""An index that is filled anew while others store and forget: what they did last holds."""

from __future__ import annotations

import pytest

from scalable_cas import cacheable
from scalable_cas.caching.session import current
from scalable_cas.store import rebuild
from tests.support.stores import forget_open_stores

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
