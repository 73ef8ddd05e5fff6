"""The figures of docs/explanation/performance.md, beside the peers, in one run: `pytest -m bench -s`.

Nothing here fails by time. What is asserted is what the figures would be worthless without: that nothing ran
twice and nothing was lost.
"""

from __future__ import annotations

import time
from functools import partial

import pytest

from . import harness
from .harness import US, benchmark_beside

pytestmark = benchmark_beside("diskcache", "joblib")
program = partial(harness.program, "programs.py")


def table(title, rows):
    print(f"\n{title}")
    for name, value in rows.items():
        print(f"  {name:14} {value}")


@pytest.mark.parametrize(
    ("what", "title", "peers"),
    [
        (
            "hits",
            "hit, f(i: int) -> dict of 5 fields, 10,000 entries in random order, us",
            [US, "diskcache", "joblib", "lmdb+pickle"],
        ),
        ("config_hits", "hit with a string and a 20-key dict, us", [US, "diskcache", "joblib"]),
        ("puts", "new entry, 10,000 in a row, us", [US, "diskcache", "joblib", "one file"]),
    ],
)
def test_latency(what, title, peers, tmp_path):
    found = {peer: program(what, peer, str(tmp_path / f"{peer}-{what}"))["us"] for peer in peers}
    table(title, {peer: f"{us:8.1f}  {us / found[US]:6.1f}x" for peer, us in found.items()})


def test_fresh_process(tmp_path):
    rows = {}
    for peer in (US, "diskcache", "joblib", "bare python"):
        what = "bare" if peer == "bare python" else "first"
        times = []
        for _ in range(15):
            start = time.perf_counter()
            program(what, peer, str(tmp_path / peer))
            times.append((time.perf_counter() - start) * 1e3)
        rows[peer] = f"{min(times):8.1f} best, {sorted(times)[7]:8.1f} median"
    table(
        "fresh process: start, import, one hit, exit, ms (of each 3 are the harness's own imports)",
        rows,
    )


def test_stampede(tmp_path):
    found = {peer: program("stampede", peer, str(tmp_path / peer)) for peer in (US, "diskcache", "joblib")}
    table(
        "8 processes, 50 keys of a 0.1 s function at once: runs, seconds",
        {p: f"{f['runs']:5} {f['seconds']:6.1f}" for p, f in found.items()},
    )
    assert found[US]["runs"] == 50


def test_parallel(tmp_path):
    found = {peer: program("parallel", peer, str(tmp_path / peer)) for peer in (US, "diskcache", "joblib")}
    table(
        "8 processes x 2,000 new keys: entries a second",
        {p: f"{f['per_second']:10,.0f}" for p, f in found.items()},
    )
    assert found[US]["lost"] == 0


def test_scale(tmp_path):
    found = program("many", US, str(tmp_path / "many"))
    ratio = found["us_200000"] / found["us_1000"]
    table(
        "hit latency with 1,000 and 200,000 entries, us",
        {"1,000": f"{found['us_1000']:.1f}", "200,000": f"{found['us_200000']:.1f}", "ratio": f"{ratio:.2f}"},
    )


def test_verify(tmp_path):
    kinds = program("verify", US, str(tmp_path / "verify"))
    for kind, found in kinds.items():
        table(
            f"verify, {kind}, which zstd makes {found['ratio']:.1f} times smaller",
            {
                "GB": f"{found['gb']:.2f}",
                "GB a second": f"{found['gb_per_second']:.2f}",
                "zstd and BLAKE3 alone, two threads": f"{found['bare']:.2f}",
            },
        )
        assert found["findings"] == 0
