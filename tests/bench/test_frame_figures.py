"""How long the key of a frame takes, beside joblib.hash, in one run: `pytest -m bench -s`."""

from __future__ import annotations

import random

from scalable_cas.keys.encode import encode

from .frames import best, frames
from .harness import benchmark_beside

pytestmark = benchmark_beside("joblib", "pandas")


def test_keys_of_frames():
    import joblib
    from blake3 import blake3

    # As many as 8 columns have: no key can take less than its hash. Not zeros, which are one page of memory.
    raw = random.randbytes(64_000_000)
    print(
        f"\nBLAKE3 of 64 MB on two threads: {best(lambda data: blake3(data, max_threads=2), raw) * 1e3:.3f} ms"
    )
    print("\nkey of a frame, ms; joblib.hash, ms; how many times as fast")
    for name, frame in frames().items():
        ours, peers = best(encode, frame), best(joblib.hash, frame)
        print(f"  {name:34} {ours * 1e3:9.3f} {peers * 1e3:9.3f} {peers / ours:8.1f}x")
        assert encode(frame) == encode(frame[:] if hasattr(frame, "loc") else frame.slice(0)), name
