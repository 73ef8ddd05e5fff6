"""The figures for large values, beside the peers, in one run: `pytest -m bench -s tests/bench/test_value_figures.py`.

Times are the best of interleaved rounds, so that what else the machine does hits all alike. What does not depend on
it is asserted: sizes and memory.
"""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.support.processes import run

from .values import US, Ours, arrays, on_disk, peers, timed, touched, versions

pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(
        any(find_spec(name) is None for name in ("numpy", "joblib", "diskcache")),
        reason="numpy and the peers are not installed: pip install '.[bench,test]'",
    ),
]
ROUNDS = 7


@pytest.mark.parametrize("name", ["random", "smooth"])
def test_an_array(name, tmp_path):
    """100 MB of doubles: store it (each time another one), load it and touch it."""
    import numpy as np

    array = arrays()[name]
    stores = peers(tmp_path)
    put: dict[str, float] = {}
    get: dict[str, float] = {}
    size: dict[str, int] = {}
    for number in range(ROUNDS):
        for peer, store in stores.items():
            if peer == "joblib compressed" and number > 1:  # two seconds each
                continue
            changed = array + number if name == "smooth" else np.random.default_rng(number).random(len(array))
            seconds, key = timed(store.put, changed)
            put[peer] = min(put.get(peer, 9e9), seconds)
            seconds, found = timed(lambda store=store, key=key: touched(store.get(key)))
            get[peer] = min(get.get(peer, 9e9), seconds)
            assert np.array_equal(found, changed)
            assert found.flags.writeable
            if not number:
                size[peer] = on_disk(store.folder)
            del found
    print(f"\n100 MB of {name} doubles: store, load and touch (ms), size (MB)")
    for peer, store in stores.items():
        store.close()
        print(f"  {peer:18} {put[peer] * 1e3:8.1f} {get[peer] * 1e3:8.1f} {size[peer] / 1e6:8.1f}")
    print(
        f"  store: {put[US] / put['a pickle file']:.2f} times a plain file, {put['joblib compressed'] / put[US]:.1f} "
        f"times as fast as joblib compressed; load: {get[US] / get['joblib']:.2f} times joblib"
    )
    if name == "smooth":
        assert size[US] < size["joblib compressed"]


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

    store, seconds, total = Ours(tmp_path / "store"), [], 0
    for columns in versions(change):
        took, key = timed(store.put, columns)
        seconds.append(took)
        total += sum(column.nbytes for column in columns)
        last = columns
    took, found = timed(store.get, key)
    assert all(np.array_equal(a, b) for a, b in zip(found, last, strict=True))
    store.close()
    times = total / on_disk(store.folder)
    print(
        f"\n20 versions of 50 MB in 8 columns, {change}: {times:.1f} times smaller; the first {seconds[0]:.3f} s, "
        f"then {sorted(seconds[1:])[9]:.3f} s (best {min(seconds[1:]):.3f}); load {took:.3f} s"
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
