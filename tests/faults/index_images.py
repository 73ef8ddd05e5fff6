"""`python -m tests.faults.index_images FOLDER FIRST LAST SEED`: damaged images of an index, one after the other, in a process that may die of it.

FOLDER/whole is a closed store with the entries of `quick(0..39)` and `large(0..4)`. For each image: the calls return right values,
verify after it finds nothing, the same calls are hits. The number of each image is printed before it is tried.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import warnings
from pathlib import Path

from scalable_cas import Store
from tests.concurrency.functions import large, quick, value
from tests.support.stores import forget_open_stores

PAGE = 4096


def flips(data, rng):
    for _ in range(rng.choice((1, 1, 1, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def overwritten(data, rng):
    at = rng.randrange(len(data) - 8)
    data[at : at + 8] = rng.randbytes(8)


def truncated(data, rng):
    del data[rng.randrange(len(data)) :]


def zeroed_page(data, rng):
    page = rng.randrange(len(data) // PAGE)
    data[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)


def swapped_pages(data, rng):
    one, two = (rng.randrange(len(data) // PAGE) * PAGE for _ in range(2))
    data[one : one + PAGE], data[two : two + PAGE] = data[two : two + PAGE], data[one : one + PAGE]


def old_meta(data, rng):
    """One of the two meta pages is zeroed: the other one may be of the transaction before."""
    page = rng.randrange(2)
    data[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)


def longer(data, rng):
    data += rng.randbytes(rng.randrange(1, 3 * PAGE))


KINDS = (flips, flips, overwritten, truncated, zeroed_page, swapped_pages, old_meta, longer)


def try_one(root: Path, number: int, seed: int) -> None:
    rng = random.Random(f"{seed} {number}")
    kind = rng.choice(KINDS)
    store = root / f"{number}" / "store"
    shutil.copytree(root / "whole", store, symlinks=True)
    file = store / "index" / "data.mdb"
    data = bytearray(file.read_bytes())
    kind(data, rng)
    file.write_bytes(data)
    os.environ["SCALABLE_CACHE_DIR"] = str(store)
    print(number, kind.__name__, flush=True)
    for n in (*range(0, 40, 7), 100):
        assert quick(n) == value(n), ("a wrong value", n)
    for n in range(5):
        assert large(n) == large.__wrapped__(n), ("a wrong value", n)
    quick.cache_info()
    forget_open_stores()
    with Store(store, heal=True) as opened:
        from scalable_cas.store.rebuild import fill_index

        fill_index(opened.index, opened.journal, opened.objects)  # brings back what a hole in the index hid
        found = opened.verify().findings
        assert not found, found
        names = [entry.function.rpartition(".")[2] for entry in opened.entries()]
    assert names.count("quick") == 41, names.count("quick")
    assert names.count("large") == 5
    misses = quick.cache_info().misses, large.cache_info().misses
    for n in (*range(40), 100):
        assert quick(n) == value(n)
    for n in range(5):
        large(n)
    assert misses == (quick.cache_info().misses, large.cache_info().misses), "an entry did not come back"
    forget_open_stores()
    shutil.rmtree(root / f"{number}")


def main() -> None:
    folder, first, last, seed = sys.argv[1:]
    warnings.simplefilter("ignore")
    for number in range(int(first), int(last)):
        try_one(Path(folder), number, int(seed))


if __name__ == "__main__":
    main()
