"""One store, two nodes: each has its own index (SCALABLE_INDEX_DIR stands for that), and no lock is common. A node must not take
what it does not know for garbage.
"""

from __future__ import annotations

import os

import pytest

from scalable_cas import Store
from tests.concurrency.functions import large, quick, value
from tests.support.stores import forget_open_stores


@pytest.fixture
def on(tmp_path, monkeypatch, store_path):
    """Become one node or the other."""

    def become(node):
        forget_open_stores()
        monkeypatch.setenv("SCALABLE_INDEX_DIR", str(tmp_path / node))

    yield become
    forget_open_stores()


def test_both_nodes_store_and_find_their_own(on, store_path):
    on("one")
    assert quick(1) == value(1)
    on("two")
    assert quick(1) == value(1)
    assert quick(2) == value(2)
    on("one")
    assert quick.is_cached(1)
    on("two")
    assert quick.is_cached(1)
    assert quick.is_cached(2)
    assert not (store_path / "index").exists()


def test_gc_on_one_node_keeps_what_the_other_stored(on, store_path):
    on("one")
    quick(1), large(1)
    on("two")
    quick(2), large(2)  # its index was filled before the next ones were stored
    on("one")
    quick(3), large(3)
    on("two")
    with Store.open(store_path) as store:
        store.gc()
    for node, numbers in (("one", (1, 3)), ("two", (1, 2))):
        on(node)
        for n in numbers:
            assert quick.is_cached(n), (node, n)
            assert large.is_cached(n), (node, n)
            assert large(n) == large.__wrapped__(n)
        forget_open_stores()
        with Store.open(store_path) as store:
            assert store.verify().findings == []


def test_gc_on_one_node_leaves_the_others_records_in_the_journal(on, store_path, monkeypatch):
    """More segments than are tolerated, so that they are folded into one."""
    on("two")
    quick(0)
    for n in range(1, 22):
        on("one")
        quick(n)
    on("two")
    with Store.open(store_path) as store:
        store.gc()
    on("three")  # a new node: its index is made from the journal
    assert [n for n in range(22) if not quick.is_cached(n)] == []


def test_what_was_cleared_on_a_node_is_freed_in_time(on, store_path):
    on("one")
    large(1)
    large.cache_clear()
    for folder, _, names in os.walk(store_path / "objects"):
        for name in names:
            path = os.path.join(folder, name)
            os.utime(path, (1, 1))  # as if two days had gone by
    with Store.open(store_path) as store:
        assert store.gc().objects == 1
