"""The figures about files of docs/explanation/performance.md: `pytest -m bench -s`. Nothing here fails by time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("files.py")
pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(
        find_spec("diskcache") is None or find_spec("joblib") is None,
        reason="the peers are not installed: pip install '.[bench]'",
    ),
]
US = "scalable-cas"


def program(what, peer, folder):
    done = subprocess.run(
        [sys.executable, PROGRAM, what, peer, folder],
        env={**os.environ, "PYTHONPATH": str(PROGRAM.parents[2])},
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_unchanged_file_of_100_mb(tmp_path):
    print("\na hit with an unchanged file of 100 MB, us")
    for peer in (US, "joblib", "diskcache"):
        print(f"  {peer:14} {program('hit', peer, str(tmp_path))['us']:12,.1f}")


def test_a_gigabyte(tmp_path):
    print("\ndigest of 1 GiB in the page cache, GB a second, peak memory of the process in MB")
    for peer in (US, "sha256", "joblib"):
        found = program("large", peer, str(tmp_path))
        print(f"  {peer:14} {found['gb_per_second']:6.2f} {found['peak_mb']:8,.0f}")


def test_folders(tmp_path):
    print("\ndigest of a folder of files of about 1 KB, seconds for 10,000 and 100,000")
    for peer in (US, "walk, sha256"):
        found = program("folders", peer, str(tmp_path / peer[:4]))
        print(f"  {peer:14} {found['10000']:6.2f} {found['100000']:6.2f}")
