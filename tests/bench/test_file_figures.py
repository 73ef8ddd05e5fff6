"""The figures about files of docs/explanation/performance.md: `pytest -m bench -s`. Nothing here fails by time."""

from __future__ import annotations

from functools import partial

from . import harness
from .harness import US, benchmark_beside

pytestmark = benchmark_beside("diskcache", "joblib")
program = partial(harness.program, "files.py")


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
