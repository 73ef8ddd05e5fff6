"""The figures for large values, beside the peers, in one run: `pytest -m bench -s tests/bench/test_value_figures.py`.

Times are of interleaved rounds, so that what else the machine does hits all alike. What does not depend on it is
asserted: sizes and memory.
"""

from __future__ import annotations

import random
import time
from importlib.util import find_spec

import pytest

from tests.support.processes import run

from .values import US, Ours, arrays, on_disk, peers, timed, touched, touched_frame, versions

pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(
        any(find_spec(name) is None for name in ("numpy", "joblib", "diskcache")),
        reason="numpy and the peers are not installed: pip install '.[bench,test]'",
    ),
]
ROUNDS = 7


def measured(work, rounds=ROUNDS):
    """Seconds for each (what, who), interleaved, in another order each round: the best, the median, and the best of
    processor time in all threads, which is what is left to compare where others have the cores.
    """
    wall: dict[tuple[str, str], list[float]] = {}
    cpu: dict[tuple[str, str], list[float]] = {}
    who = list(work)
    for number in range(rounds):
        random.Random(number).shuffle(who)
        for one in who:
            for what, call in work[one](number):
                busy, since = time.process_time(), time.perf_counter()
                found = call()
                wall.setdefault((what, one), []).append(time.perf_counter() - since)
                cpu.setdefault((what, one), []).append(time.process_time() - busy)
                del found
    return {key: (min(times), sorted(times)[len(times) // 2], min(cpu[key])) for key, times in wall.items()}


def table(title, found, peers_of):
    """Print what was measured, in milliseconds and as a multiple of the named peers' best."""
    print(f"\n{title}: best, median, processor time at best (ms)")
    for (what, who), (best, median, busy) in sorted(found.items()):
        print(f"  {what:6} {who:20} {best * 1e3:8.1f} {median * 1e3:8.1f} {busy * 1e3:8.1f}")
    for what, peer in peers_of:
        ours, theirs = found[what, US], found[what, peer]
        ratios = ", ".join(f"{mine / other:.2f}" for mine, other in zip(ours, theirs, strict=True))
        print(f"  {what}: {ratios} times {peer}")


@pytest.mark.parametrize("name", ["random", "smooth"])
def test_an_array(name, tmp_path):
    """100 MB of doubles: store it (each time another one), load it and touch it."""
    import numpy as np

    array = arrays()[name]
    stores = peers(tmp_path)
    if (
        name == "random"
    ):  # who compresses them waits for seconds; what the system does with free memory meanwhile
        stores.pop("joblib compressed").close()  # would be measured in the others
    size: dict[str, int] = {}
    keys: dict[str, object] = {}

    def put(peer, changed):
        keys[peer] = stores[peer].put(changed)

    def storing(peer):
        def steps(number):
            if peer == "joblib compressed" and number > 1:  # two seconds each
                return
            changed = array + number if name == "smooth" else np.random.default_rng(number).random(len(array))
            yield "store", lambda: put(peer, changed)
            if peer not in size:
                size[peer] = on_disk(stores[peer].folder)
                found = touched(stores[peer].get(keys[peer]))
                assert np.array_equal(found, changed)
                assert found.flags.writeable

        return steps

    def loading(peer):
        def steps(number):
            if peer != "joblib compressed" or number < 3:
                yield "load", lambda: touched(stores[peer].get(keys[peer]))

        return steps

    found = measured({peer: storing(peer) for peer in stores})
    # after all stores: between them, memory that was just freed is not there yet, and whoever asks for much waits
    found |= measured({peer: loading(peer) for peer in stores}, 3 * ROUNDS)
    for store in stores.values():
        store.close()
    table(
        f"100 MB of {name} doubles",
        found,
        [(what, peer) for what in ("store", "load") for peer in stores if peer != US],
    )
    print("  " + ", ".join(f"{peer} {taken / 1e6:.1f} MB" for peer, taken in size.items()))
    if "joblib compressed" in size:
        assert size[US] < size["joblib compressed"]


def test_a_frame(tmp_path):
    """A hit on a frame of 1,000,000 rows and 8 columns of floats, which is touched."""
    import numpy as np
    import pandas as pd

    frame = pd.DataFrame({f"c{i}": np.random.default_rng(i).random(1_000_000) for i in range(8)})
    stores = peers(tmp_path)
    del stores["joblib compressed"]
    keys = {peer: store.put(frame) for peer, store in stores.items()}

    def work(peer, store):
        return lambda _: [("load", lambda: touched_frame(store.get(keys[peer])))]

    works = {peer: work(peer, store) for peer, store in stores.items()}
    if find_spec("pyarrow") is not None:
        path = tmp_path / "parquet"
        frame.to_parquet(path)
        works["read_parquet"] = lambda _: [("load", lambda: touched_frame(pd.read_parquet(path)))]
    assert stores[US].get(keys[US]).equals(frame)
    found = measured(works, 3 * ROUNDS)
    for store in stores.values():
        store.close()
    table("A frame of 1,000,000 rows, 8 columns", found, [("load", who) for who in works if who != US])


@pytest.mark.parametrize("size", [1_000_000, 100_000_000, 1_000_000_000])
def test_a_map(size, tmp_path, monkeypatch):
    """`_mmap="r"` beside joblib's: the call by itself, and with a touch."""
    import joblib
    import numpy as np

    from scalable_cas import cacheable

    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(tmp_path / "store"))

    @cacheable(_mmap="r")
    def numbers(size: int):
        return np.random.default_rng(0).random(size // 8)

    numbers(size)
    joblib.dump(numbers(size), tmp_path / "joblib")

    def steps(load):
        return lambda _: [("call", load), ("load", lambda: touched(load()))]

    found = measured(
        {
            US: steps(lambda: numbers(size)),
            "joblib": steps(lambda: joblib.load(tmp_path / "joblib", mmap_mode="r")),
        },
        3 * ROUNDS,
    )
    table(f"{size / 1e6:.0f} MB, mapped", found, [("call", "joblib"), ("load", "joblib")])


def test_twenty_dicts_that_share_four_of_five_arrays(tmp_path):
    import numpy as np

    rng = np.random.default_rng(0)
    shared = {f"a{i}": rng.random(1_250_000) for i in range(4)}
    store = Ours(tmp_path / "store")
    for _ in range(20):
        store.put({**shared, "own": rng.random(1_250_000)})
    store.close()
    times = 1000e6 / on_disk(store.folder)
    print(f"\n20 dicts of five 10 MB arrays, four of them shared: {times:.2f} times smaller")
    assert times >= 4.1


@pytest.mark.parametrize("change, least", [("block", 14), ("insert", 12)])
def test_twenty_versions_of_a_frame(change, least, tmp_path):
    import numpy as np

    store, seconds, busy, total = Ours(tmp_path / "store"), [], [], 0
    for columns in versions(change):
        before = time.process_time()
        took, key = timed(store.put, columns)
        busy.append(time.process_time() - before)
        seconds.append(took)
        total += sum(column.nbytes for column in columns)
        last = columns
    took, found = timed(store.get, key)
    assert all(np.array_equal(a, b) for a, b in zip(found, last, strict=True))
    store.close()
    times = total / on_disk(store.folder)
    print(
        f"\n20 versions of 50 MB in 8 columns, {change}: {times:.1f} times smaller; the first {seconds[0]:.3f} s, "
        f"then {sorted(seconds[1:])[9]:.3f} s (best {min(seconds[1:]):.3f}, processor time "
        f"{sorted(busy[1:])[9]:.3f}); load {took:.3f} s"
    )
    assert times >= least


MEMORY = """
import os, sys
import numpy as np
from tests.bench.values import Ours
size, what = int(sys.argv[2]), sys.argv[1]
store = Ours(os.environ["SCALABLE_CACHE_DIR"])
if what == "put":
    array = np.empty(size // 8)
    for at in range(0, len(array), 1 << 20):
        part = array[at : at + (1 << 20)]
        part[:] = np.random.default_rng(at).random(len(part)) if sys.argv[3] == "random" else np.sin(np.arange(at, at + len(part)) / 1e4)
    store.put(array)
else:
    assert store.get((b"figures0" + (1).to_bytes(32, "big"))).nbytes == size
store.close()
# not ru_maxrss: that of the process that started us counts in
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) * 1024)
"""


@pytest.mark.parametrize("name", ["random", "smooth"])
def test_memory(name, tmp_path):
    """4 GiB in and out: at most 1.1 times the value and 200 MiB."""
    size = 4 << 30
    for what in ("put", "get"):
        peak = int(run(MEMORY, what, size, name, store=tmp_path / "store", seconds=600))
        print(f"\n4 GiB of {name} doubles, {what}: peak memory {peak / size:.3f} times the value")
        assert peak < 1.1 * size + (200 << 20)
