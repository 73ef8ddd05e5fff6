"""LMDB leaves pages unwritten that one transaction took at the end of the file and gave back: such a file is
shorter than its meta page says, and whole.
"""

from __future__ import annotations

import random
from contextlib import ExitStack

import pytest

from scalable_cas import Store
from scalable_cas.errors import IndexDamaged
from scalable_cas.storage.environment_files import _committed_bytes, check
from tests.support.processes import start

HOLD = """
import sys
from scalable_cas import Store
with Store.open(sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
"""


def is_short(path):
    data = path / "index/data.mdb"
    return data.stat().st_size < _committed_bytes(data.read_bytes()[: 128 << 10], "")


@pytest.fixture
def short(tmp_path):
    """A store whose index is short."""
    path, seed = tmp_path / "s", 0
    while not path.exists() or not is_short(path):
        seed += 1
        draw = random.Random(seed)
        keys = [b"k%d" % n for n in range(60)]

        def change(changes, draw=draw, keys=keys):
            new = {key: bytes(draw.choice([10, 500, 40_000, 120_000])) for key in draw.sample(keys, 12)}
            changes.put_sorted("views", new)
            changes.drop_view_rows(draw.sample(keys, 30))

        with Store.init(path) as store:
            store.put_bytes(b"kept")
            store.index.write(change)
        assert seed < 100
    return path


@pytest.mark.parametrize("closed", ["well", "by a kill"])
@pytest.mark.parametrize("used", ["by nobody", "by another process"])
def test_it_is_whole(short, closed, used):
    if closed == "by a kill":
        (short / "index/stamp").unlink()
    with ExitStack() as stack:
        if used == "by another process":
            holder = stack.enter_context(start(HOLD, short))
            assert holder.stdout.readline() == "ready\n"
        assert is_short(short)
        check(str(short / "index"), alone=used == "by nobody")
        with Store.open(short) as store:
            assert store.verify().findings == []
            assert store.index.count("objects") == 1
        if used == "by another process":
            holder.communicate("\n")


def test_one_that_was_cut_is_not(short):
    data = short / "index/data.mdb"
    content = data.read_bytes()
    for kept in range(2, 8):  # more, and what is cut off may be free
        data.write_bytes(content[: kept * 4096])
        with pytest.raises(IndexDamaged):
            check(str(short / "index"), alone=False)
        with pytest.raises(IndexDamaged):
            check(str(short / "index"), alone=True)
