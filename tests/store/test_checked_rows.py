"""Hits of more rows than a process remembers whole: whatever was checked before, a row that is not the one that was
checked is a miss.
"""

from __future__ import annotations

import pytest

from scalable_cas import cacheable
from scalable_cas.caching.session import current
from scalable_cas.format import rows
from scalable_cas.store import reader
from tests.support.stores import forget_open_stores, object_files, pack_files, quiet

COUNT = 40
runs: list[int] = []


@cacheable
def square(n):
    runs.append(n)
    return {"n": n, "square": n * n}


@pytest.fixture(params=[1 << 10, 4], ids=["room for all marks", "room for four"])
def index(request, tmp_path, monkeypatch):
    """The index of a store with some entries, each hit often enough to be remembered in one way or the other."""
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(tmp_path / "store"))
    monkeypatch.setattr(reader, "KNOWN", 3)
    monkeypatch.setattr(reader, "MARKS", request.param)
    monkeypatch.setattr(reader, "LOOKS", 1)  # marks count where no look at a file is due
    runs.clear()
    for n in range(COUNT):
        square(n)
    forget_open_stores()
    runs.clear()
    for _ in range(4):
        assert [square(n)["square"] for n in range(COUNT)] == [n * n for n in range(COUNT)]
    assert runs == []
    yield current().store.index
    forget_open_stores()


def put(index, rowkey, row):
    index.write(lambda changes: changes.replace_ref(rowkey, row))


def test_rows_that_change_places_are_not_taken_for_each_other(index):
    found = list(index.scan("refs"))
    for (rowkey, _), (_, other) in zip(found, found[1:] + found[:1], strict=True):
        put(index, rowkey, other)
    with quiet():
        assert [square(n)["n"] for n in range(COUNT)] == list(range(COUNT))
    assert sorted(runs) == list(range(COUNT))


@pytest.mark.parametrize("place", [0, rows.REF_FIXED - 1, -1])
def test_a_bit_that_flips_in_a_checked_row_is_a_miss(index, place):
    for rowkey, row in list(index.scan("refs")):
        damaged = bytearray(row)
        damaged[place] ^= 1
        put(index, rowkey, bytes(damaged))
    with quiet():
        assert [square(n)["square"] for n in range(COUNT)] == [n * n for n in range(COUNT)]
    assert sorted(runs) == list(range(COUNT))


def test_rows_that_were_written_anew_are_used(index):
    current().store.forget([rowkey for rowkey, _ in index.scan("refs")])
    for n in range(COUNT):
        square(n)
    current().store.flush()
    runs.clear()
    assert [square(n)["square"] for n in range(COUNT)] == [n * n for n in range(COUNT)]
    assert runs == []


def test_files_that_go_are_noticed_though_not_every_hit_looks(index, monkeypatch):
    monkeypatch.setattr(reader, "LOOKS", 20)
    root = current().store.root
    for file in [*object_files(root), *pack_files(root)]:
        file.unlink()
    with quiet():
        for _ in range(1000):
            for n in range(COUNT):
                square(n)
            if len(runs) == COUNT:
                break
    assert sorted(runs) == list(range(COUNT))
