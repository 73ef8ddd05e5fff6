"""A store that belongs to another user and may only be read: its hits are served, as those of any entry from elsewhere."""

from __future__ import annotations

import os
import shutil

import pytest

from scalable_cas import Store
from scalable_cas.errors import StoreReadOnly
from scalable_cas.storage.journal import Journal
from scalable_cas.storage.objects import Objects
from scalable_cas.store import opening
from scalable_cas.store.opening import IndexPlace
from tests.faults.others_functions import plain
from tests.support.processes import run
from tests.support.stores import forget_open_stores

#: What the second user has is another home, so another key, and no right to write; Python itself may lie where no third
#: user could read it.
PROGRAM = """
    import os, sys, warnings
    if sys.argv[1] == "reader":
        os.access = lambda path, mode: mode != os.W_OK
    from tests.faults.others_functions import Point, plain, point
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        for n in map(int, sys.argv[2:]):
            assert plain(n) == {"n": n, "large": "x" * 3000}
            assert point(n).n == n
    print(plain.cache_info().hits, point.cache_info().hits)
"""


@pytest.fixture
def place(tmp_path):
    for name in ("owner", "reader"):
        (tmp_path / name).mkdir()
    return tmp_path


def call(place, user, *numbers):
    """How many hits a user has of calls with these numbers: of plain data, and of what only pickle keeps."""
    home = place / user
    said = run(
        PROGRAM, user, *numbers, store=place / "store", HOME=str(home), XDG_CONFIG_HOME="", TMPDIR=str(home)
    )
    return tuple(map(int, said.split()))


def contents(place):
    return {path: path.is_file() and path.read_bytes() for path in (place / "store").rglob("*")}


def test_hits_of_a_store_that_another_user_may_only_read(place, monkeypatch):
    call(place, "owner", 1, 2)
    before = contents(place)
    assert call(place, "reader", 1, 2, 3) == (2, 0)  # pickles only of those whom one trusts
    assert call(place, "reader", 1, 2, 3) == (2, 0)
    assert contents(place) == before
    call(place, "owner", 3)
    assert call(place, "reader", 1, 2, 3) == (3, 0)
    monkeypatch.setenv("HOME", str(place / "owner"))
    monkeypatch.delenv("XDG_CONFIG_HOME")
    with Store.open(place / "store") as store:
        store.forget([entry.record.rowkey for entry in store.entries()])
    assert call(place, "reader", 1, 2, 3) == (0, 0)


def open_place(tmp_path, store):
    place = IndexPlace(store.root, str(tmp_path / "node" / "index"), store.format.store_id, b"r" * 32)
    return place.open_of_another(Journal(store.root, store.format.store_id, b"r" * 32), Objects(store.root))


@pytest.mark.parametrize(("quick", "entries"), [(1.0, 2), (0.0, 1)])
def test_the_index_of_a_large_store_is_not_made_anew_each_time(tmp_path, monkeypatch, quick, entries):
    monkeypatch.setattr(opening, "QUICK", quick)
    monkeypatch.setattr(opening, "SHARE", 10**6)
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(tmp_path / "store"))
    plain(1)
    forget_open_stores()
    with Store.open(tmp_path / "store") as store:
        open_place(tmp_path, store).close()
    plain(2)
    forget_open_stores()
    with Store.open(tmp_path / "store") as store:
        index = open_place(tmp_path, store)
        assert index.count("refs") == entries
        index.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_index_does_not_lie_in_the_folder_of_another(tmp_path):
    with Store.init(tmp_path / "store") as store:
        (tmp_path / "node").mkdir()
        os.chown(tmp_path / "node", 65534, 65534)
        with pytest.raises(StoreReadOnly, match="another user"):
            open_place(tmp_path, store)


def test_hits_where_the_index_is_gone(place):
    call(place, "owner", 1)
    shutil.rmtree(place / "store" / "index")
    assert call(place, "reader", 1) == (1, 0)
    assert not (place / "store" / "index").exists()
