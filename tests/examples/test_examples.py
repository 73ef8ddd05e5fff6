"""Each example runs as its page says, from an empty folder, and its numbers are right."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

EXAMPLES = ROOT / "examples"
TESTED = {"outputs.py", "sunlight.py", "two_people.py"}


def test_every_example_is_tested():
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == TESTED


def start(folder, name="sunlight.py"):
    """Run an example as the README does, into `folder`/results, and return what it prints."""
    command = [sys.executable, str(EXAMPLES / name), "results"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return ran.stdout


@pytest.fixture(scope="module")
def sunlight(tmp_path_factory):
    """The folder in which the example ran, and what it printed."""
    folder = tmp_path_factory.mktemp("sunlight")
    return folder, start(folder)


def test_the_second_run_computes_nothing(sunlight):
    first, second = sunlight[1].split("Second run:\n")
    assert "Misses: 7 (100%)" in first
    assert "Hits: 7 (100%)" in second
    table = [line for line in first.splitlines() if "cities" in line]
    assert len(table) == 6
    assert table == [line for line in second.splitlines() if "cities" in line]


def test_a_third_run_hits_what_the_others_left(sunlight):
    again = start(sunlight[0])
    assert again.count("Hits: 7 (100%)") == 2


def test_the_results_are_those_of_the_model(sunlight):
    """What anybody can check: a flat panel does best at the equator, a tilted one far from it."""
    results = sunlight[0] / "results"
    flat, tilted = (json.loads((results / f"energy-{tilt}.json").read_text()) for tilt in (0, 45))
    rows = [line.split(",") for line in (results / "cities.csv").read_text().splitlines()]
    assert len(rows) == len(flat) == len(tilted) == 418
    north = {name: float(latitude) for name, latitude in rows}
    assert north["Stockholm"] == pytest.approx(59 + 20 / 60, abs=1e-4)
    assert north["Sydney"] == pytest.approx(-(33 + 52 / 60), abs=1e-4)
    assert north["Sao_Tome"] == pytest.approx(20 / 60, abs=1e-4)
    for city in ("Singapore", "Nairobi", "Sao_Tome"):
        assert flat[city] > tilted[city]
    for city in ("Stockholm", "Sydney", "Reykjavik"):
        assert flat[city] < tilted[city]


def test_the_model_is_that_of_its_sources():
    spec = importlib.util.spec_from_file_location("sunlight", EXAMPLES / "sunlight.py")
    model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(model)
    assert model.beam(1.0) == pytest.approx(1353 * 0.7, rel=1e-3)  # air mass 1: the sun overhead
    assert model.beam(0.5) == pytest.approx(
        1353 * 0.7 ** (1.993**0.678), rel=1e-3
    )  # Kasten and Young, 60 degrees
    fine = model.energy_at(48.0, 30.0, 1, 288)
    assert model.energy_at(48.0, 30.0, 5, 24) == pytest.approx(fine, rel=5e-3)  # the steps are short enough
    assert model.energy_at(48.0, 30.0, 5, 24) > model.energy_at(48.0, 0.0, 5, 24) > 0


def test_two_people_share_one_bucket(tmp_path):
    command = [sys.executable, str(EXAMPLES / "two_people.py"), "people"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    ada, bob, again = ran.stdout.split("asks for")[1:]
    assert "Misses: 10 (100%)" in ada
    assert "Hits: 10 (50%)" in bob
    assert "Hits: 20 (100%)" in again


def test_drawings_that_were_lost_and_spoilt_come_back(tmp_path):
    again = ["asking again", "results/walk-1/line.svg is back", "results/walk-2/line.svg is as it was"]
    again.append("notes.txt says mine")
    first = start(tmp_path, "outputs.py").splitlines()
    assert first == ["drawing 3 walks", "writing the index", *again]
    image = (tmp_path / "results/walk-3/line.svg").read_text()
    assert len(image.split("points=")[1].split()) > 2000
    assert (tmp_path / "results.html").read_text().count("<img") == 3
    assert start(tmp_path, "outputs.py").splitlines() == [
        "writing the index",
        *again,
    ]  # notes.txt is new in it
    assert start(tmp_path, "outputs.py").splitlines() == again
