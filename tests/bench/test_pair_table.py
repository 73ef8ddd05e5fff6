"""The pairs of tests/keys, put to the peers that hash arguments: `pytest -m bench -s tests/bench/test_pair_table.py`.

A *false hit* is one key for two values that a function can tell apart: a wrong result. A *miss* is two keys for
one value: lost time. What a peer refuses or fails on is counted apart.
"""

from __future__ import annotations

import hashlib
import pickle
import warnings
from importlib import import_module
from importlib.util import find_spec

from scalable_cas.keys.encode import encode

from .harness import benchmark_beside

pytestmark = benchmark_beside("joblib")

TABLES = {
    "plain": None,
    "models": "pydantic",
    "arrays": "numpy",
    "sparse": "scipy",
    "xarray": "xarray",
    "frames": "pandas",
    "arrow": "pyarrow",
    "polars": "polars",
    "torch": "torch",
}


def tables():
    for name, library in TABLES.items():
        if library is None or find_spec(library) is not None:
            yield name, import_module(f"tests.keys.test_{'pairs' if name == 'plain' else name}")


def peers():
    import joblib

    found = {
        "scalable-cas": encode,
        "joblib.hash": joblib.hash,
        "pickle and sha256": lambda value: hashlib.sha256(pickle.dumps(value, 5)).digest(),
    }
    if find_spec("dask") is not None:
        from dask.base import tokenize

        found["dask.tokenize"] = tokenize
    return found


def judged(key, pairs, *, equal):
    """How many pairs are judged wrong, and how many not at all."""
    wrong, failed = 0, 0
    for one, other in pairs:
        try:
            wrong += (key(one) == key(other)) is not equal
        except Exception:
            failed += 1
    return wrong, failed


def test_pairs():
    rows, total = {peer: [0, 0, 0] for peer in peers()}, 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _, module in tables():
            different, equal = [*module.DIFFERENT.values()], [*module.EQUAL.values()]
            total += len(different) + len(equal)
            for peer, key in peers().items():
                false_hits, failed = judged(key, different, equal=False)
                misses, failed_too = judged(key, equal, equal=True)
                rows[peer] = [
                    a + b for a, b in zip(rows[peer], (false_hits, misses, failed + failed_too), strict=True)
                ]
    print(f"\n{total} pairs: false hits, misses, refused or failed")
    for peer, row in rows.items():
        print(f"  {peer:18} {row[0]:5} {row[1]:5} {row[2]:5}")
    assert total >= 250
    assert rows["scalable-cas"] == [0, 0, 0]
