"""Each call that changes a file fails once, or from then on: a full disk, a broken one. Calls return what the function returns; what
was acknowledged is there; once the fault is over nothing needs repair.
"""

from __future__ import annotations

import random

import pytest

from tests.support import scenarios, strace
from tests.support.processes import run

MODULE = "tests.support.scenarios"
#: Programs made of decorated calls: they may not notice. The others are commands, which may end with an error of ours.
CALLS = {"first", "again", "duplicate", "burst", "chunks", "overwrite", "reopen"}
SOME = ("duplicate", "clear", "collect", "chunks", "collect_chunks", "reopen", "configure")
REFUSALS = ("StoreReadOnly", "StoreFull", "StoreBusy", "IndexDamaged")


def complaint(name, status, errors):
    """What is wrong with how a program ended, or None."""
    if status in (0, 99):
        return None
    last = errors.strip().splitlines()[-1] if errors.strip() else ""
    if name not in CALLS and any(word in last for word in REFUSALS):
        return None
    return f"it ended with {status}: {errors[-1500:]}"


def sweep(name, fault, onwards, tmp_path, monkeypatch):
    template = tmp_path / "template"
    before = [line for line in run(MODULE, "prepare", name, store=template).split("\n") if line]
    args = ["onwards"] if onwards else []
    ends = run("tests.support.sweeps", name, fault, template, tmp_path / "points", *args, seconds=170).split(
        "\n"
    )[:-1]
    wrong = []
    for line in ends:
        number, status = line.split()
        folder = tmp_path / "points" / number
        monkeypatch.setenv("SCALABLE_CACHE_DIR", str(folder / "store"))
        found = scenarios.check(
            str(folder / "store"), name, before, (folder / "said").read_text().splitlines()
        )
        ended = complaint(name, int(status), (folder / "warned").read_text())
        wrong += [
            f"{name}, {fault} at change {number}: {text}" for text in [*found, *([ended] if ended else [])]
        ]
    print(f"{name} {fault}{' onwards' if onwards else ''}: {len(ends)} points")
    assert not wrong, "\n".join(wrong)
    assert len(ends) > 1


@pytest.mark.parametrize("name", SOME)
def test_a_full_disk_at_every_change(name, tmp_path, monkeypatch):
    sweep(name, "ENOSPC", True, tmp_path, monkeypatch)


@pytest.mark.crash
@pytest.mark.parametrize("onwards", [False, True])
@pytest.mark.parametrize("fault", ["ENOSPC", "EIO", "EMFILE", "EDQUOT"])
@pytest.mark.parametrize("name", scenarios.PROGRAMS)
def test_every_fault_at_every_change(name, fault, onwards, tmp_path, monkeypatch):
    sweep(name, fault, onwards, tmp_path, monkeypatch)


# --- with strace, which reaches LMDB's own writes ---------------------------------------------------------------

needs_strace = pytest.mark.skipif(bool(strace.why_not()), reason=strace.why_not())


def strace_sweep(name, fault, onwards, chosen, tmp_path, monkeypatch):
    import shutil

    template = tmp_path / "template"
    before = [line for line in run(MODULE, "prepare", name, store=template).split("\n") if line]
    traced = tmp_path / "traced" / "store"
    traced.parent.mkdir()
    if template.exists():
        shutil.copytree(template, traced, symlinks=True)
    found = strace.points(MODULE, name, store=traced, log=tmp_path / "log")
    wrong = []
    points = chosen(found)
    for number, point in enumerate(points):
        if point.name in ("write", "openat") and onwards:
            continue  # would also hit the interpreter's own files and output
        folder = tmp_path / str(number)
        folder.mkdir()
        store = folder / "store"
        if template.exists():
            shutil.copytree(template, store, symlinks=True)
        monkeypatch.setenv("SCALABLE_CACHE_DIR", str(store))
        when = f"{point.number}+" if onwards else None
        done = strace.inject(point, f"error={fault}", MODULE, name, store=store, when=when)
        texts = scenarios.check(str(store), name, before, done.stdout.splitlines())
        ended = complaint(name, done.returncode, done.stderr)
        wrong += [
            f"{name}, {fault}{'+' if onwards else ''} at {point.what[:160]}: {text}"
            for text in [*texts, *([ended] if ended else [])]
        ]
        shutil.rmtree(folder)
    print(f"{name} {fault}{'+' if onwards else ''}: {len(found)} points, {len(points)} tried")
    assert not wrong, "\n".join(wrong)


@needs_strace
@pytest.mark.parametrize("name", ["first", "overwrite", "collect"])
@pytest.mark.parametrize("fault", ["ENOSPC", "EIO"])
def test_some_system_calls(name, fault, tmp_path, monkeypatch):
    def chosen(found):
        index = [point for point in found if "data.mdb" in point.what]
        return random.Random(name).sample(index, min(4, len(index)))

    strace_sweep(name, fault, False, chosen, tmp_path, monkeypatch)


@needs_strace
@pytest.mark.crash
@pytest.mark.parametrize("name", sorted(set(scenarios.PROGRAMS) - {"burst"}))
@pytest.mark.parametrize("onwards", [False, True])
@pytest.mark.parametrize("fault", ["ENOSPC", "EIO"])
def test_every_system_call(name, fault, onwards, tmp_path, monkeypatch):
    strace_sweep(name, fault, onwards, lambda found: found, tmp_path, monkeypatch)
