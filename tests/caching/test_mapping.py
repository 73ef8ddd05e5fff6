"""`_mmap="r"`: arrays are read-only maps of the store, of files that were checked (CONTRACT 2)."""

from __future__ import annotations

import asyncio
import mmap
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scalable_cas import CacheWarning, Store
from scalable_cas.caching import cacheable
from scalable_cas.store import mapping
from tests.support.stores import assert_whole, forget_open_stores, object_files, pack_files

runs: list[object] = []
LENGTH = 50_000  # 400 kB of float64, which compress well


@pytest.fixture(autouse=True)
def _fresh(workdir, monkeypatch):
    runs.clear()
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(workdir / "cache"))


@pytest.fixture
def hashed(monkeypatch):
    """How often a file was hashed before it was mapped."""
    real, counted = mapping.object_id, []

    def counting(*args):
        counted.append(1)
        return real(*args)

    monkeypatch.setattr(mapping, "object_id", counting)
    return counted


def line(length):
    runs.append(length)
    return np.arange(length, dtype=float)


mapped = cacheable(_mmap="r")(line)
plain = cacheable(line)


@cacheable(_mmap="r")
def small(kind):
    numbers = np.arange(3.0)
    return {
        "array": numbers,
        "dict": {"a": b"x", "array": numbers},
        "frame": pd.DataFrame({"x": numbers}),
        "nothing": np.zeros((0, 3)),
        "unaligned": {"a" * length: np.arange(float(length)) for length in range(1, 9)},
    }[kind]


@pytest.mark.parametrize("kind", ["array", "dict", "frame", "nothing", "unaligned"])
def test_small_arrays_are_read_only_too_at_the_first_call_as_at_the_second(kind):
    for _ in range(3):
        found = small(kind)
        arrays = list(found.values()) if isinstance(found, dict) else [found]
        for array in arrays:
            if not isinstance(array, bytes):
                assert not np.asarray(array).flags.writeable


def is_map(array) -> bool:
    """Whether an array's memory is a map of a file in the store, by Python and by the kernel."""
    base = array
    while isinstance(base, np.ndarray):
        base = base.base
    base = base.obj if isinstance(base, memoryview) else base
    address = array.ctypes.data
    for entry in Path("/proc/self/maps").read_text().splitlines():
        span, rights, *_ = entry.split()
        low, high = (int(number, 16) for number in span.split("-"))
        if low <= address < high:
            return isinstance(base, mmap.mmap) and "/objects/" in entry and rights.startswith("r-")
    return False


def test_an_array_is_a_map_at_the_first_call_and_at_every_later_one():
    for _ in range(3):
        array = mapped(LENGTH)
        assert is_map(array)
        assert type(array) is np.ndarray and array.dtype == np.float64
        assert array.ctypes.data % 64 == 0
        assert np.array_equal(array, np.arange(LENGTH, dtype=float))
    assert runs == [LENGTH]
    forget_open_stores()
    assert_whole("cache")


def test_nobody_can_write_into_it():
    mapped(LENGTH)
    array = mapped(LENGTH)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.setflags(write=True)
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.view().flags.writeable = True


@dataclass
class Fit:
    weights: np.ndarray
    name: str


def test_arrays_inside_containers_and_frames_are_maps_too():
    @cacheable(_mmap="r")
    def fit(x):
        runs.append(x)
        return {
            "list": [np.zeros((LENGTH, 2), order="F")],
            "fit": Fit(np.ones(LENGTH, dtype="f4"), "one"),
            "frame": pd.DataFrame({"a": np.arange(LENGTH), "b": np.linspace(0, 1, LENGTH)}),
            "bytes": b"x" * 100_000,
            "small": np.arange(3),
        }

    for _ in range(2):
        got = fit(1)
        assert is_map(got["list"][0]) and got["list"][0].flags.f_contiguous
        assert is_map(got["fit"].weights) and got["fit"].name == "one"
        assert is_map(got["frame"]["a"].to_numpy())
        assert got["frame"]["b"].sum() == pytest.approx(LENGTH / 2)
        assert got["bytes"] == b"x" * 100_000
        assert got["small"].tolist() == [0, 1, 2]
    assert runs == [1]


def test_small_arrays_and_other_values_are_as_ever():
    small = cacheable(_mmap="r")(lambda x: {"a": np.arange(x), "b": "text"})
    for _ in range(2):
        got = small(5)
        assert got["a"].tolist() == [0, 1, 2, 3, 4] and got["b"] == "text"
    texts = cacheable(_mmap="r")(lambda x: "t" * x)
    assert texts(200_000) == texts(200_000) == "t" * 200_000


@pytest.mark.parametrize("length", [LENGTH, 10 * LENGTH])
def test_what_was_stored_compressed_or_in_chunks_is_stored_raw_for_who_maps_it(length):
    plain(length)
    before = sum(path.stat().st_size for path in (*object_files("cache"), *pack_files("cache")))
    assert before < length * 4
    array = mapped(length)
    assert is_map(array)
    assert np.array_equal(array, np.arange(length))
    assert max(path.stat().st_size for path in object_files("cache")) == length * 8 + 64
    again = plain(length)
    assert again.flags.writeable
    again[:] = 0
    assert array[1] == 1
    assert runs == [length]
    forget_open_stores()
    assert_whole("cache")
    with Store.open("cache") as store:
        store.gc()
    assert np.array_equal(mapped(length), np.arange(length))
    assert runs == [length]


def test_wrappers_with_and_without_share_entries():
    mapped(LENGTH)
    assert plain(LENGTH).flags.writeable
    assert runs == [LENGTH]


def test_a_file_is_hashed_once_and_again_when_its_stat_changed(hashed):
    mapped(LENGTH)
    mapping.clock.sleep(
        0.05
    )  # a stat tells one change of a file from the next only after a tick of the clock
    mapped(LENGTH)
    hashed.clear()
    mapped(LENGTH)
    assert hashed == []
    (path,) = [path for path in object_files("cache") if path.stat().st_size > LENGTH]
    path.chmod(0o644)
    path.chmod(0o444)  # its ctime is new
    mapping.clock.sleep(0.05)
    mapped(LENGTH)
    mapped(LENGTH)
    assert hashed == [1]


def test_a_large_file_that_was_written_just_now_is_not_hashed(hashed, monkeypatch):
    """Its content was hashed on its way in, which takes longer than a tick of the clock."""
    monkeypatch.setattr(mapping.memory, "trust_in_device", lambda *_: (2 * 10**9, 0, False))
    began = mapping.clock.now_ns() - 10**9
    mapped(LENGTH)
    with Store.open("cache") as store:
        (oid,) = [oid for oid in store.objects.names() if store.stat(oid.hex()).size > LENGTH]
        store.known_files = mapping_rows(store)
        hashed.clear()
        mapping.remember(store, [oid], began)
        assert len(mapping._mapped(store, oid, LENGTH * 8)) == LENGTH * 8
        assert hashed == []
        store.notes.files.clear()
        mapping.remember(store, [oid], mapping.clock.now_ns())  # it was there before: nothing is known of it
        mapping._mapped(store, oid, LENGTH * 8)
        assert hashed == [1]


def mapping_rows(store):
    """The rows of a store without any."""
    from scalable_cas.store.known_files import KnownFiles

    store.notes.files.clear()
    return KnownFiles(store)


def test_another_process_knows_too(run, workdir):
    (workdir / "program.py").write_text(
        "import numpy as np, sys\n"
        "from scalable_cas import cacheable\n"
        "from scalable_cas.store import mapping\n"
        "@cacheable(_mmap='r')\n"
        "def zeros(n):\n"
        "    print('ran')\n"
        "    return np.zeros(n)\n"
        "def never(*args): raise AssertionError('hashed')\n"
        "if len(sys.argv) > 1: mapping.object_id = never\n"
        "import time\n"
        "for _ in range(2):\n"
        "    assert zeros(100_000).sum() == 0\n"
        "    time.sleep(0.05)\n"
    )
    first, second = run("program.py"), run("program.py", "again")
    assert (first.stdout, first.stderr) == ("ran\n", "")
    assert (second.stdout, second.stderr) == ("", "")


def flip(path: Path, *, keep_times: bool) -> None:
    seen = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"\xff")
    path.chmod(0o444)
    if keep_times:
        os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


@pytest.mark.parametrize("keep_times", [False, True])
def test_a_damaged_file_is_never_mapped(keep_times):
    mapped(LENGTH)
    (path,) = [path for path in object_files("cache") if path.stat().st_size > LENGTH]
    flip(path, keep_times=keep_times)
    with pytest.warns(CacheWarning) as said:
        array = mapped(LENGTH)
    assert "is damaged" in str(said[0].message)
    assert np.array_equal(array, np.arange(LENGTH))
    assert runs == [LENGTH, LENGTH]
    assert is_map(mapped(LENGTH))
    assert runs == [LENGTH, LENGTH]
    forget_open_stores()
    assert_whole("cache")


@pytest.mark.parametrize("change", ["truncated", "longer", "gone", "link"])
def test_neither_is_one_that_is_cut_longer_gone_or_a_link(workdir, change):
    mapped(LENGTH)
    (path,) = [path for path in object_files("cache") if path.stat().st_size > LENGTH]
    path.chmod(0o644)
    if change in ("gone", "link"):
        os.rename(path, workdir / "away")
    if change == "link":
        path.symlink_to(workdir / "away")
    if change == "truncated":
        os.truncate(path, 200_000)
    if change == "longer":
        path.write_bytes(path.read_bytes() + b"x")
    with pytest.warns(CacheWarning):
        array = mapped(LENGTH)
    assert np.array_equal(array, np.arange(LENGTH))
    assert runs == [LENGTH, LENGTH]
    mapped(LENGTH)
    assert runs == [LENGTH, LENGTH]


def test_somebody_elses_file_is_copied_and_not_mapped(monkeypatch):
    mapped(LENGTH)
    monkeypatch.setattr(mapping.os, "geteuid", lambda: 12345)
    array = mapped(LENGTH)
    assert not is_map(array)
    assert not array.flags.writeable
    assert np.array_equal(array, np.arange(LENGTH))
    assert runs == [LENGTH]


def test_an_entry_from_elsewhere_is_mapped_after_it_was_hashed(hashed):
    mapped(LENGTH)
    forget_open_stores()
    shutil.rmtree("cache/index")
    os.unlink(Path(os.environ["XDG_CONFIG_HOME"], "scalable-cas/local.key"))
    hashed.clear()
    assert is_map(mapped(LENGTH))
    assert hashed == [1]
    assert runs == [LENGTH]


def test_clearing_and_collecting_leave_a_map_alone():
    array = mapped(LENGTH)
    mapped.cache_clear()
    with Store.open("cache") as store:
        assert store.gc().objects == 2
    assert array.sum() == sum(range(LENGTH))
    shutil.rmtree("cache")
    assert array.sum() == sum(range(LENGTH))


def test_a_read_only_store_maps_what_can_be_mapped_and_copies_the_rest():
    mapped(LENGTH)
    plain(2 * LENGTH)
    forget_open_stores()
    with Store.open("cache") as store:
        store.read_only = True
        reading = cacheable(_mmap="r", _store=store)(line)
        assert is_map(reading(LENGTH))
        array = reading(2 * LENGTH)
        assert not is_map(array) and not array.flags.writeable
        assert np.array_equal(array, np.arange(2 * LENGTH))
    assert runs == [LENGTH, 2 * LENGTH]


def test_without_the_stat_cache_every_map_is_hashed(hashed, monkeypatch):
    monkeypatch.setenv("SCALABLE_STAT_CACHE", "0")
    for _ in range(3):
        assert is_map(mapped(LENGTH))
    assert hashed == [1, 1, 1]
    forget_open_stores()


def test_a_coroutine_function_can_be_mapped_too_and_bypassed():
    @cacheable(_mmap="r")
    async def later(x):
        await asyncio.sleep(0)
        return line(x)

    assert is_map(asyncio.run(later(LENGTH)))
    assert is_map(asyncio.run(later(LENGTH)))
    assert is_map(asyncio.run(later(LENGTH, _cache_bypass=True)))
    assert runs == [LENGTH, LENGTH]


def test_what_is_not_stored_is_what_the_function_returned():
    @cacheable(_mmap="r", _cache_if=lambda array: len(array) > LENGTH)
    def some(x):
        return line(x)

    assert some(LENGTH).flags.writeable
    looking = cacheable(_mmap="r", store=False)(line)
    assert looking(LENGTH).flags.writeable


@pytest.mark.parametrize("wrong", ["w", "r+", True, 1, "c"])
def test_r_is_the_only_mode(wrong):
    with pytest.raises(TypeError, match="_mmap"):
        cacheable(_mmap=wrong)(line)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the memory of a process")
def test_a_large_map_takes_no_memory():
    def resident() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(entry.split()[1] for entry in lines if entry.startswith("RssAnon"))) << 10

    big = 8_000_000  # 64 MB
    mapped(big)
    before = resident()
    arrays = [mapped(big) for _ in range(5)]
    assert resident() - before < 8 << 20
    assert all(array[-1] == big - 1 for array in arrays)


def test_many_maps_leave_descriptors_for_others(run, workdir):
    """Python keeps one for each map; what no longer fits is copied."""
    (workdir / "program.py").write_text(
        "import resource, sys\n"
        "import numpy as np\n"
        "from scalable_cas import cacheable\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))\n"
        "@cacheable(_mmap='r')\n"
        "def many(n):\n"
        "    print('ran')\n"
        "    return [np.full(10_000, number) for number in range(n)]\n"
        "for _ in range(3):\n"
        "    found = many(200)\n"
        "    assert [array[0] for array in found] == list(range(200))\n"
        "    assert not any(array.flags.writeable for array in found)\n"
    )
    done = run("program.py")
    assert (done.stdout, done.stderr) == ("ran\n", "")
