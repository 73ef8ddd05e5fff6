"""A kill before every call that changes a file: of the first call on nothing, of new, duplicate and replaced results, of clear, gc,
reindex and config. After each: verify finds nothing, all that was acknowledged reads back right, the next calls work.
"""

from __future__ import annotations

import random
import shutil
import signal

import pytest

from tests.support import scenarios, strace
from tests.support.processes import run

pytestmark = pytest.mark.skipif(bool(strace.why_not()), reason=strace.why_not())
MODULE = "tests.support.scenarios"


@pytest.fixture
def template(tmp_path_factory, request):
    """For a program: the prepared store, what is acknowledged in it, and the points of a run."""
    return prepared(tmp_path_factory, request.param)


_prepared: dict[str, tuple] = {}


def prepared(factory, name):
    if name not in _prepared:
        folder = factory.mktemp(f"template-{name}")
        before = run(MODULE, "prepare", name, store=folder / "store").split("\n")
        traced = copy(folder / "store", folder / "traced" / "store")
        found = strace.points(MODULE, name, store=traced, log=folder / "log")
        _prepared[name] = (folder / "store", [line for line in before if line], found)
    return _prepared[name]


def copy(source, target):
    target.parent.mkdir(parents=True)
    if source.exists():
        shutil.copytree(source, target, symlinks=True)
    return target


def kill_at(point, name, source, before, folder, monkeypatch):
    """What is wrong after a kill before this point; None if the program ended without reaching it."""
    store = copy(source, folder / "store")
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(store))
    done = strace.inject(point, "signal=KILL", MODULE, name, store=store)
    killed = done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
    assert killed or done.returncode == 0, done.stderr
    wrong = scenarios.check(str(store), name, before, done.stdout.splitlines())
    shutil.rmtree(folder)
    return killed, [f"{name}, killed before {point.what}: {text}" for text in wrong]


def sweep(name, chosen, factory, monkeypatch, enough=None):
    """Kill at the chosen points, or at the first ``enough`` of them that are reached: how results gather in commits
    depends on the time, and so do the points of a run.
    """
    source, before, found = prepared(factory, name)
    assert found, "the program changes nothing"
    points = chosen(found)
    folder = factory.mktemp("sweep")
    wrong, killed = [], 0
    for number, point in enumerate(points):
        if killed == enough:
            break
        reached, faults = kill_at(point, name, source, before, folder / str(number), monkeypatch)
        killed += reached
        wrong += faults
    print(f"{name}: {len(found)} points, {len(points)} tried, {killed} killed")
    assert not wrong, "\n".join(wrong)
    least = 0.8 * len(points) if enough is None else min(enough, len(points))
    assert killed >= least, "the program does not do the same each time"


@pytest.mark.parametrize("name", scenarios.PROGRAMS)
def test_some_points(name, tmp_path_factory, monkeypatch):
    """Two for each program, others than the last time only if the program changed."""
    sweep(
        name,
        lambda found: random.Random(name).sample(found, min(10, len(found))),
        tmp_path_factory,
        monkeypatch,
        enough=2,
    )


@pytest.mark.crash
@pytest.mark.parametrize("name", scenarios.PROGRAMS)
def test_every_point(name, tmp_path_factory, monkeypatch):
    sweep(name, lambda found: found, tmp_path_factory, monkeypatch)
