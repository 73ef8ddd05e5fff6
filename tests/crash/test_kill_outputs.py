"""A kill before every call that changes a file, while files and folders are stored as results, and while they are
put back. After each: verify finds nothing, the next run ends with the right files, and a draft that was left in a
folder becomes part of nothing.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from pathlib import Path

import pytest

from scalable_cas import Store
from scalable_cas.errors import StoreNotFound
from tests.support import strace
from tests.support.processes import run

pytestmark = pytest.mark.skipif(bool(strace.why_not()), reason=strace.why_not())

PROGRAM = """
import os
folder = os.environ["SCALABLE_CACHE_DIR"]
os.environ["SCALABLE_CACHE_DIR"] = folder + "/store"
os.chdir(folder)
from pathlib import Path
from scalable_cas import DirType, FileType, cacheable

@cacheable(return_type=DirType)
def draw(count):
    print("drawing")
    root = Path("plots")
    (root / "sub").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (root / f"sub/{number}").write_text(f"plot {number}")
    (root / "large").write_bytes(bytes(range(256)) * 8000)
    if not os.path.lexists(root / "latest"):
        os.symlink("sub/1", root / "latest")
    return "plots"

@cacheable(return_type=FileType)
def table(rows):
    print("computing")
    Path("table.csv").write_text("1,2\\n" * rows)
    return Path("table.csv")

draw(40)
table(3)
"""


def state(folder) -> dict[str, object]:
    """What lies in the folder beside the store."""
    found: dict[str, object] = {}
    for above, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != "store"]
        for name in files:
            path = os.path.join(above, name)
            content = os.readlink(path) if os.path.islink(path) else Path(path).read_bytes()
            found[os.path.relpath(path, folder)] = content
    return found


def spoil(folder) -> None:
    """What the second program has to put right."""
    shutil.rmtree(folder / "plots/sub")
    (folder / "plots/large").write_text("spoilt")
    (folder / "plots/latest").unlink()
    (folder / "plots/latest").symlink_to("/etc")
    (folder / "table.csv").unlink()


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    """For storing and for putting back: the folder to start from, the points of a run; and what it ends with."""
    root = tmp_path_factory.mktemp("outputs")
    done = root / "done"
    done.mkdir()
    run(PROGRAM, store=done)
    found = {}
    for name in ("store", "put back"):
        start = root / name
        if name == "store":
            start.mkdir()
        else:
            shutil.copytree(done, start, symlinks=True)
            spoil(start)
        traced = shutil.copytree(start, root / f"{name} traced", symlinks=True)
        found[name] = start, strace.points(PROGRAM, store=traced, log=root / "log")
        assert state(traced) == state(done)
    return found, state(done)


def sweep(name, chosen, templates, folder) -> None:
    (start, points), right = templates[0][name], templates[1]
    killed = 0
    tried = chosen(points)
    for number, point in enumerate(tried):
        here = shutil.copytree(start, folder / str(number), symlinks=True)
        done = strace.inject(point, "signal=KILL", PROGRAM, store=here)
        killed += done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
        try:
            with Store(here / "store", heal=True) as store:
                assert store.verify().findings == [], point.what
        except StoreNotFound:
            assert name == "store"
        run(PROGRAM, store=here)
        drafts = {path for path in state(here) if ".scalable-cas-draft." in path}
        assert {path: content for path, content in state(here).items() if path not in drafts} == right, (
            point.what
        )
        with Store.open(here / "store") as store:
            assert store.verify().findings == [], point.what
            if drafts:
                assert not any(b"draft" in line.name for line in entries(store, here)), point.what
        assert run(PROGRAM, store=here) == "", point.what  # nothing is computed again
        shutil.rmtree(here)
    assert killed >= 0.8 * len(tried)


def entries(store, folder):
    from scalable_cas.ops.trees import listing

    return listing(store, store.put_path(folder / "plots"), recursive=True)


NAMES = ("store", "put back")


@pytest.mark.parametrize("name", NAMES)
def test_some_points(name, templates, tmp_path):
    sweep(name, lambda found: random.Random(name).sample(found, 4), templates, tmp_path)


@pytest.mark.crash
@pytest.mark.parametrize("name", NAMES)
def test_every_point(name, templates, tmp_path):
    sweep(name, lambda found: found, templates, tmp_path)
