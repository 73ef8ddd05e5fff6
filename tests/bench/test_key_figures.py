"""How long keys take, beside the peers, in one run: `pytest -m bench -s`.

Nothing here fails by time, as in test_figures.py. What is asserted is memory: it does not depend on neighbours.
"""

from __future__ import annotations

from functools import partial

import pytest

from . import harness
from .harness import US, benchmark_beside

pytestmark = benchmark_beside("joblib", "numpy")
program = partial(harness.program, "keys.py")
FLOOR = "pickle+blake3"


def show(title, found):
    print(f"\n{title}")
    for peer, result in found.items():
        growth = f"  memory +{result['growth']:.2f}x" if "growth" in result else ""
        print(f"  {peer:14} {result['us']:12.1f}  {result['us'] / found[US]['us']:6.1f}x{growth}")


@pytest.mark.parametrize(
    "what, title, peers",
    [
        ("primitives", "key of 5 primitives, us", (US, "joblib", FLOOR)),
        ("config", "key of a dict of 20, us", (US, "joblib", FLOOR)),
        ("dicts", "key of 100,000 dicts of 3, us", (US, "joblib", FLOOR)),
        ("mixed", "key of a list of 1,000,000 int, float and str, us", (US, "joblib", FLOOR)),
        ("texts", "key of an object array of 1,000,000 str, us", (US, "joblib", FLOOR)),
        ("small_array", "key of an array of 10, us", (US, "joblib", FLOOR)),
        ("array_hit", "whole hit with an array of 1 MB, us", (US, "joblib")),
    ],
)
def test_key(what, title, peers, tmp_path):
    show(title, {peer: program(what, peer, str(tmp_path / peer)) for peer in peers})


@pytest.mark.parametrize(
    "what, title",
    [
        ("array", "key of 100 MiB of float64, us"),
        ("array_fortran", "the same in Fortran order, us"),
        ("array_strided", "the same, every second of 200 MiB, us"),
    ],
)
def test_large_array(what, title, tmp_path):
    found = {peer: program(what, peer, str(tmp_path)) for peer in (US, "joblib", FLOOR)}
    show(title, found)
    assert found[US]["growth"] < 0.1  # one buffer of 4 MiB, and threads
