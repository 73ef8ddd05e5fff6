"""Of many calls of one key at once, in processes, threads and tasks, one runs the function."""

from __future__ import annotations

from tests.support.processes import together
from tests.support.stores import assert_whole, entry_keys

from .functions import slow

FIFTY = """
import random, sys
from tests.concurrency.functions import slow, value
print("ready", flush=True); sys.stdin.readline()
keys = list(range(50))
random.Random(sys.argv[1] if sys.argv[2] == "mixed" else 0).shuffle(keys)
for n in keys:
    assert slow(n) == value(n)
"""


def test_eight_processes_and_fifty_keys_are_fifty_runs(store_path, runs):
    """On an empty store, which all of them make at the same moment; all in the same order, which is the worst."""
    together(FIFTY.replace("sys.argv[1] if sys.argv[2]", "sys.argv[2] if sys.argv[1]"), 8, "same", store=store_path)
    assert sorted(map(int, runs.lines())) == list(range(50))
    assert len(entry_keys(store_path)) == 50
    assert_whole(store_path)
