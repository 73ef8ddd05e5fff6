"""Frames that are hashed beside a peer, and how their times are taken."""

from __future__ import annotations

import time

ROWS = 1_000_000


def frames(rows=ROWS):
    """Name -> a frame. The same on every run."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(0)
    values = rng.random((8, rows))
    names = [f"c{i}" for i in range(8)]
    ints, floats = np.arange(rows), rng.random(rows)
    texts = [f"name {i}" for i in range(rows)]

    def mixed(dtype):
        return pd.DataFrame({"i": ints, "f": floats, "s": pd.array(texts, dtype=dtype)})

    found = {
        "8 float columns": pd.DataFrame(dict(zip(names, values, strict=True))),
        "8 float columns, rows together": pd.DataFrame(
            np.ascontiguousarray(values.T), columns=names, copy=False
        ),
        "int, float, text of Python": mixed(pd.StringDtype("python")),
        "10 rows, 3 columns": pd.DataFrame({"i": ints[:10].copy(), "f": floats[:10].copy(), "t": texts[:10]}),
    }
    try:
        import pyarrow as pa
    except ImportError:
        return found
    found["int, float, text of Arrow"] = mixed(pd.StringDtype("pyarrow"))
    found["Arrow table of int, float, text"] = pa.table({"i": ints, "f": floats, "s": texts})
    return found


def best(function, value, seconds=1.5):
    """The shortest time of ``function(value)``, in seconds, over some ``seconds``."""
    shortest, end = float("inf"), time.perf_counter() + seconds
    for _ in range(3000):
        start = time.perf_counter()
        function(value)
        now = time.perf_counter()
        shortest = min(shortest, now - start)
        if now > end:
            break
    return shortest
