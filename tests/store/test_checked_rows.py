"""Hits of more rows than a process remembers whole: whatever was checked before, a row that is not the one that was
checked is a miss.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from scalable_cas import cacheable
from scalable_cas.caching.session import current
from scalable_cas.format import rows
from scalable_cas.store import reader
from scalable_cas.store.reader import Seen
from tests.support.stores import forget_open_stores, object_files, pack_files, quiet

COUNT = 40
runs: list[int] = []


@cacheable
def square(n):
    runs.append(n)
    return {"n": n, "square": n * n}


@pytest.fixture(params=[1 << 20, 4 * 400], ids=["room for all", "room for four"])
def index(request, tmp_path, monkeypatch):
    """The index of a store with some entries, each hit often enough to be remembered in one way or the other."""
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(tmp_path / "store"))
    monkeypatch.setattr(reader, "KNOWN", 3)
    monkeypatch.setattr(reader, "SEEN_BYTES", request.param)
    monkeypatch.setattr(reader, "LOOKS", 1)  # what was seen counts where no look at a file is due
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


def test_what_is_deleted_while_threads_read_is_a_miss_for_each_of_them(index):
    """A thread that is late must not bring what it saw before into what is known of the newest snapshot."""
    store = current().store
    rounds, workers = 15, 4
    turn = threading.Barrier(workers + 1, timeout=60)

    def work():
        for _ in range(rounds):
            turn.wait()
            for n in range(COUNT * 20):
                square(n % COUNT)  # in the midst of which all is deleted
            turn.wait()

    with ThreadPoolExecutor(workers) as pool:
        working = [pool.submit(work) for _ in range(workers)]
        for _ in range(rounds):
            turn.wait()
            store.flush()
            store.forget([rowkey for rowkey, _ in index.scan("refs")])
            turn.wait()
            store.flush()
            store.forget([rowkey for rowkey, _ in index.scan("refs")])
            runs.clear()
            assert [square(n)["square"] for n in range(COUNT)] == [n * n for n in range(COUNT)]
            assert sorted(runs) == list(range(COUNT))
        for done in working:
            done.result()


def test_what_another_process_deletes_is_a_miss_at_once(index):
    root = current().store.root
    code = (
        "import sys, scalable_cas\n"
        "store = scalable_cas.Store.open(sys.argv[1])\n"
        "store.forget([rowkey for rowkey, _ in store.index.scan('refs')])\n"
        "store.close()\n"
    )
    subprocess.run([sys.executable, "-c", code, str(root)], check=True, timeout=60)
    assert [square(n)["square"] for n in range(COUNT)] == [n * n for n in range(COUNT)]
    assert sorted(runs) == list(range(COUNT))


def test_no_more_is_kept_than_there_is_room_for(index, monkeypatch):
    kept = []
    monkeypatch.setattr(reader, "Seen", lambda snapshot: kept.append(Seen(snapshot)) or kept[-1])
    forget_open_stores()
    for n in range(COUNT):
        square(n)
    rows_kept = [row for row in kept[-1].rows.values() if isinstance(row, bytes)]
    assert 0 < sum(map(len, rows_kept)) <= reader.SEEN_BYTES
    assert len(rows_kept) == (COUNT - 3 if reader.SEEN_BYTES > COUNT * 1000 else 5)


def test_what_is_given_up_for_newer_rows_is_not_kept_elsewhere(index, monkeypatch):
    """A process that only hits stays in one snapshot for ever."""
    kept = []
    monkeypatch.setattr(reader, "Seen", lambda snapshot: kept.append(Seen(snapshot)) or kept[-1])
    monkeypatch.setattr(reader, "SEEN_BYTES", 0)
    monkeypatch.setattr(reader, "PATIENCE", 10)
    forget_open_stores()
    for _ in range(10):
        for n in range(COUNT):
            square(n)
    assert len({seen.snapshot for seen in kept if seen.snapshot >= 0}) == 1
    assert max(len(seen.rows) for seen in kept) <= reader.KNOWN


def test_an_index_that_was_exchanged_is_noticed_by_who_hits_now_and_then(index, monkeypatch):
    root = current().store.root
    monkeypatch.setattr(reader, "LOOKS", 1000)  # each hit looks at its file, and that stays
    forget_open_stores()
    assert [square(n)["n"] for n in range(COUNT)] == list(range(COUNT))
    passed, now = [0.0], reader.clock.perf_counter
    monkeypatch.setattr(reader.clock, "perf_counter", lambda: now() + passed[0])
    forget_open_stores()
    assert square(0)["n"] == 0
    code = (
        "import shutil, sys, scalable_cas\n"
        "shutil.rmtree(sys.argv[1] + '/index')\n"
        "store = scalable_cas.Store.open(sys.argv[1])\n"
        "store.forget([rowkey for rowkey, _ in store.index.scan('refs')])\n"
        "store.close()\n"
    )
    subprocess.run([sys.executable, "-c", code, str(root)], check=True, timeout=60)
    passed[0] = 2 * reader.ASK_SECONDS
    assert [square(n)["n"] for n in range(COUNT)] == list(range(COUNT))
    assert sorted(runs) == list(range(COUNT))


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
