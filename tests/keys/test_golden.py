"""The golden keys come out as they were stored, here and on every other Python that is at hand."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from . import golden

ROOT = Path(__file__).resolve().parents[2]
STORED = golden.stored()


def test_the_fixture_is_large_enough():
    assert len(STORED["values"]) + len(STORED["calls"]) >= 120
    assert STORED["recipe"] == 1


@pytest.mark.parametrize("expression", [*golden.VALUES, *golden.LIBRARY_VALUES])
def test_every_value_is_in_the_fixture(expression):
    assert expression in STORED["values"], "run `python -m tests.keys.golden`"


@pytest.mark.parametrize("expression", STORED["values"])
def test_values(expression):
    missing = golden.missing_libraries(expression)
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    assert golden.encoding_of(expression) == STORED["values"][expression]


@pytest.mark.parametrize("name", STORED["calls"])
def test_calls(name):
    assert golden.key_of(*json.loads(name)) == STORED["calls"][name]


def test_encodings_are_all_different():
    """But for values that are one: NaN whatever its sign, and a dict and a set in any order."""
    expected_same = [{"math.nan", "-math.nan"}]
    by_encoding = {}
    for expression, encoding in STORED["values"].items():
        by_encoding.setdefault(encoding, set()).add(expression)
    assert [group for group in by_encoding.values() if len(group) > 1] == expected_same


def at_hand(values):
    return {name: code for name, code in values.items() if not golden.missing_libraries(name)}


def printed(python, **env):
    done = subprocess.run(
        [python, "-m", "tests.keys.golden", "--print"],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("seed", ["0", "1", "4294967295"])
def test_the_hash_seed_does_not_matter(seed):
    found = printed(sys.executable, PYTHONHASHSEED=seed)
    assert found["values"] == at_hand(STORED["values"])
    assert found["calls"] == STORED["calls"]


@pytest.mark.parametrize("flags", [["-O"], ["-OO"], ["-X", "no_debug_ranges"]])
def test_options_of_python_do_not_matter(flags, tmp_path):
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" {" ".join(flags)} "$@"\n')
    wrapper.chmod(0o755)
    assert printed(str(wrapper))["values"] == at_hand(STORED["values"])


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_other_versions_of_python(version):
    python = shutil.which(f"python{version}")
    if python is None:
        pytest.skip(f"no python{version} on the PATH")
    if subprocess.run([python, "-c", "import blake3, tzdata"], capture_output=True, check=False).returncode:
        pytest.skip(f"python{version} has no blake3 and tzdata")
    found = printed(python)  # which may have fewer libraries than this one
    assert found["values"].items() <= STORED["values"].items()
    assert set(golden.VALUES) <= found["values"].keys()
    assert found["calls"] == STORED["calls"]
