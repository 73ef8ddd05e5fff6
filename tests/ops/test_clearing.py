"""What was cleared stays cleared, also when the index is rebuilt."""

from __future__ import annotations

import shutil

import pytest

from scalable_cas import Store, cacheable
from scalable_cas.cli.main import main
from scalable_cas.ops.verify import verify


def rebuilt(path):
    """How many entries a new index has."""
    shutil.rmtree(path / "index")
    with Store.open(path) as store:
        return store.index.count("refs")


@pytest.mark.parametrize("how", ["function", "clear FUNCTION", "clear --all"])
def test_an_entry_whose_object_was_gone_does_not_come_back_with_the_object(tmp_path, how):
    """Found by the state machine: clearing only knew what the index knew."""
    path = tmp_path / "s"
    with Store.init(path) as store:

        @cacheable(_store=store)
        def half(x):
            return x / 2

        half(1), half(2)
        store.flush()
        lost = store.objects.loose.path(bytes.fromhex(half_object(store, half.cache_key(1))))
        shutil.move(lost, tmp_path / "kept")
    assert rebuilt(path) == 1  # the entry without an object is left out
    with Store.open(path) as store:
        if how == "function":
            cleared = cacheable(_store=store)(half.__wrapped__)
            assert cleared.cache_clear() == 1
    if how != "function":
        name = half.__qualname__ if how == "clear FUNCTION" else "--all"
        assert main(["--store", str(path), "clear", name]) == 0
    shutil.move(tmp_path / "kept", lost)
    assert rebuilt(path) == 0


def test_what_is_stored_after_clearing_stays(tmp_path):
    path = tmp_path / "s"
    with Store.init(path) as store:

        @cacheable(_store=store)
        def half(x):
            return x / 2

        half(1)
        assert half.cache_clear() == 1
        half(1), half(2)
    assert rebuilt(path) == 2
    with Store.open(path) as store:
        assert verify(store).findings == []


def half_object(store, key):
    return next(found.record.oid.hex() for found in store.entries() if found.record.key.hex() == key)
