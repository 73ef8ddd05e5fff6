"""Damaged index and journal files: never a wrong value, never a dead interpreter; entries come back from the journal and the objects."""

from __future__ import annotations

import os
import random
import shutil

import pytest

from scalable_cas import Store
from scalable_cas.errors import IndexDamaged
from tests.concurrency.functions import large, quick, value
from tests.support.processes import finish, start
from tests.support.stores import findings, flip, forget_open_stores, overwrite, quiet, recorded


@pytest.fixture
def whole(store_path):
    """A closed store of some entries."""
    for n in range(40):
        quick(n)
    for n in range(5):
        large(n)
    forget_open_stores()
    return store_path


def images(whole, tmp_path, count, seed):
    """Try damaged images, in processes of 50 each."""
    shutil.copytree(whole, tmp_path / "images" / "whole", symlinks=True)
    wrong = []
    first = 0
    while first < count:
        last = min(first + 50, count)
        status, out, err = finish(
            start("tests.faults.index_images", tmp_path / "images", first, last, seed), 170
        )
        if status == 0:
            first = last
            continue
        reached = out.strip().splitlines()[-1]  # go on after the image that ended the process
        wrong.append(f"image {reached}: status {status}: {err.strip()[-600:]}")
        first = int(reached.split()[0]) + 1
    assert not wrong, "\n".join(wrong)


def test_some_damaged_images(whole, tmp_path):
    images(whole, tmp_path, 60, 0)


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(1, 6))
def test_thousands_of_damaged_images(whole, tmp_path, seed):
    images(whole, tmp_path, 400, seed)


def all_hits():
    misses = quick.cache_info().misses
    assert [quick(n) for n in range(40)] == [value(n) for n in range(40)]
    assert quick.cache_info().misses == misses
    forget_open_stores()


def test_the_index_is_gone(whole):
    shutil.rmtree(whole / "index")
    all_hits()
    assert findings(whole) == []


@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb", "users.lock", "flight.lock", "stamp"])
@pytest.mark.parametrize("content", [None, b"", b"damaged" * 1000])
def test_each_file_of_the_index(whole, name, content):
    file = whole / "index" / name
    if content is None:
        file.unlink()
    else:
        overwrite(file, content)
    with quiet():
        all_hits()
    assert findings(whole) == []


def test_damaged_rows_of_objects_break_nothing(whole):
    """Found by damaged images: a flipped length of a row made `cache_info` raise."""
    with Store.open(whole) as store:
        names = [*store.objects.names()]
        store.index.write(
            lambda changes: [changes.put_object(oid, b"damaged" * (i % 3)) for i, oid in enumerate(names)]
        )
    assert quick.cache_info().entries == 40
    all_hits()
    with Store.open(whole) as store:
        assert not store.gc(dry_run=True).entries
        store.gc()
    all_hits()


def test_a_rebuilt_index_is_reported_once(whole):
    overwrite(whole / "index" / "data.mdb", b"damaged" * 1000)
    with recorded() as texts:
        all_hits()
    assert len(texts) == 1
    assert "rebuilt" in texts[0]


def test_a_command_does_not_rebuild_unasked(whole):
    overwrite(whole / "index" / "data.mdb", b"damaged" * 1000)
    with pytest.raises(IndexDamaged, match="reindex"):
        Store.open(whole)


def test_many_processes_find_the_damage_at_once(whole):
    overwrite(whole / "index" / "data.mdb", b"damaged" * 1000)
    from tests.support.processes import together

    outs = together(
        """
import sys, warnings
warnings.simplefilter("ignore")
from tests.concurrency.functions import quick, value
print("ready", flush=True)
sys.stdin.readline()
assert [quick(n) for n in range(40)] == [value(n) for n in range(40)]
quick(1000 + int(sys.argv[1]))
print(quick.cache_info().misses)
""",
        6,
        store=whole,
    )
    assert outs == ["1\n"] * 6
    with Store.open(whole) as store:
        assert sum(entry.function.endswith("quick") for entry in store.entries()) == 46
    assert findings(whole) == []


# --- the journal ------------------------------------------------------------------------------------------------


def segment(whole):
    (found,) = (whole / "journal").glob("*.seg")
    return found


def test_a_damaged_journal_costs_no_hit_and_is_found(whole):
    file = segment(whole)
    flip(file, os.path.getsize(file) // 2)
    all_hits()
    assert len(findings(whole)) in (1, 2)  # the damaged place, and the entry that it held


def test_repair_writes_a_damaged_journal_anew(whole):
    from scalable_cas.ops.verify import repair, verify

    flip(segment(whole), os.path.getsize(segment(whole)) // 2)
    with Store.open(whole) as store:
        repair(store, verify(store))
        assert store.verify().findings == []
    shutil.rmtree(whole / "index")
    all_hits()
    assert findings(whole) == []


@pytest.mark.parametrize("seed", range(20))
def test_a_rebuild_from_a_damaged_journal_keeps_all_but_the_damaged_records(whole, seed):
    rng = random.Random(seed)
    file = segment(whole)
    data = bytearray(file.read_bytes())
    at = rng.randrange(len(data))
    match seed % 4:
        case 0:
            data[at] ^= 1 << rng.randrange(8)
        case 1:
            del data[at:]
        case 2:
            data[at : at + 8] = rng.randbytes(8)
        case 3:
            data[at:at] = rng.randbytes(rng.randrange(1, 200))
    overwrite(file, bytes(data))
    shutil.rmtree(whole / "index")
    with quiet():
        assert [quick(n) for n in range(40)] == [value(n) for n in range(40)]
        assert [large(n) for n in range(5)] == [large.__wrapped__(n) for n in range(5)]
        if seed % 4 != 1:
            assert quick.cache_info().misses + large.cache_info().misses <= 2
    forget_open_stores()
    with quiet():
        all_hits()


def test_the_journal_is_gone(whole):
    shutil.rmtree(whole / "journal")
    all_hits()
    assert len(findings(whole)) == 45
    with quiet():
        quick(77)
        forget_open_stores()
        assert quick.is_cached(77)


def test_the_journal_and_the_index_are_gone(whole):
    shutil.rmtree(whole / "journal")
    shutil.rmtree(whole / "index")
    with quiet():
        assert quick(1) == value(1)
        forget_open_stores()
    assert findings(whole) == []
