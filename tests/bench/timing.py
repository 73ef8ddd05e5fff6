"""How the programs take their times. It imports nothing more: a fresh process is one of the things timed."""

from __future__ import annotations

import time


def best(passes, work, count=1):
    """The shortest of several passes, divided by ``count``, the calls in a pass: seconds."""
    times = []
    for _ in range(passes):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) / count
