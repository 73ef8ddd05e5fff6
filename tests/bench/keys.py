"""The programs that time keys, a process each: `python keys.py WHAT PEER FOLDER` prints JSON.

Every peer makes a key of the same value. `pickle+blake3` is the floor: the least that reading a value once
costs; its keys differ for equal values. A time is the best of several passes.
"""

from __future__ import annotations

import json
import sys
import time

from programs import wrapped
from timing import best


def maker(peer):
    """What makes a key of one value."""
    if peer == "scalable-cas":
        from scalable_cas.keys.encode import encode

        return encode
    if peer == "joblib":
        import joblib

        return joblib.hash
    if peer == "pickle+blake3":
        import pickle

        from blake3 import blake3

        return lambda value: blake3(pickle.dumps(value, 5)).digest()
    raise SystemExit(f"no peer {peer}")


def _best(passes, work, count=1):
    work()

    def repeat():
        for _ in range(count):
            work()

    return best(passes, repeat, count) * 1e6


def _memory(name):
    """Memory that this process has (VmRSS), or has had at most since `_forget_peak` (VmHWM), in bytes."""
    with open("/proc/self/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith(name))
    return int(line.split()[1]) * 1024


def _forget_peak():
    with open("/proc/self/clear_refs", "w", encoding="ascii") as refs:
        refs.write("5")


def _array(order):
    import numpy as np

    if order == "strided":
        return np.random.default_rng(1).random((3200, 8192))[:, ::2]
    return np.asarray(np.random.default_rng(1).random((3200, 4096)), order=order)


def _large(peer, value):
    make = maker(peer)
    make(value[:100, :100])  # what is imported and allocated at first need
    _forget_peak()
    before = _memory("VmRSS")
    make(value)
    growth = (_memory("VmHWM") - before) / value.nbytes
    return {"us": _best(5, lambda: make(value)), "growth": growth}


def array(peer, _folder):
    """100 MiB of float64."""
    return _large(peer, _array("C"))


def array_fortran(peer, _folder):
    return _large(peer, _array("F"))


def array_strided(peer, _folder):
    return _large(peer, _array("strided"))


def small_array(peer, _folder):
    import numpy as np

    value = np.arange(10.0)
    make = maker(peer)
    return {"us": _best(7, lambda: make(value), 2000)}


def size(values):
    return values.size


def array_hit(peer, folder):
    """A whole hit of a function that takes an array of 1 MB."""
    import numpy as np

    value = np.random.default_rng(1).random(125_000)
    function = wrapped(peer, size, folder)
    function(value)
    time.sleep(0.2)  # whatever writes behind the scenes has written
    return {"us": _best(9, lambda: function(value), 20)}


def dicts(peer, _folder):
    """100,000 dicts of three."""
    value = [{"id": i, "value": i * 0.5, "name": f"sample {i}"} for i in range(100_000)]
    make = maker(peer)
    return {"us": _best(5, lambda: make(value))}


def mixed(peer, _folder):
    """A list of a million numbers and texts."""
    value = [item for i in range(333_334) for item in (i, i * 0.5, f"sample {i}")]
    make = maker(peer)
    return {"us": _best(3, lambda: make(value))}


def texts(peer, _folder):
    """An array of a million texts, as Python objects."""
    import numpy as np

    value = np.array([f"sample {i}" for i in range(1_000_000)], object)
    make = maker(peer)
    return {"us": _best(3, lambda: make(value))}


def primitives(peer, _folder):
    """Five arguments of a call."""
    return _call(peer, (42, "abc", 3.14, True, None))


def config(peer, _folder):
    """A dict of twenty."""
    return _call(
        peer, {f"k{k}": (k if k % 3 == 0 else k * 1.5 if k % 3 == 1 else f"text {k}") for k in range(20)}
    )


def _call(peer, value):
    make = maker(peer)
    return {"us": _best(7, lambda: make(value), 5000)}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
