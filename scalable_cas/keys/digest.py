"""BLAKE3 of large buffers, on as many cores as this process may use.

BLAKE3's own pool of threads (``AUTO``) hangs for ever in a child that was forked from a process which had
used it. So the number of threads is always said, which makes a pool for that one call, and a forked
child and a thread that is not the main one (a worker of Dask, of a thread pool: its neighbours are busy too)
use one.

A pool costs 50 to 150 µs, and its threads some hundred more until both are at work: eight columns of 8 MB
took 12.9 ms with a pool each and 7.9 with one for all, which is what their bytes take in one piece. So one
encoding keeps its pool from one large array to the next (`Walk.hasher`). To keep it longer was rejected:
from Python 3.12 on, a fork of a process that has threads warns.
"""

from __future__ import annotations

import os

from blake3 import blake3

# Below this one thread is as fast: two threads start to gain at 256 KiB and reach 1.9 times at 1 MiB, less
# the 47 µs of a pool (an array of 1 MiB takes 110 µs on one thread).
LARGE = 2 << 20
_MOST_THREADS = 16  # memory, not arithmetic, is the limit beyond

_home = 0  # the process that first hashed with several threads


def digest(data: bytes | bytearray | memoryview, size: int) -> bytes:
    """The plain BLAKE3 (32 bytes) of a contiguous buffer of ``size`` bytes."""
    if size < LARGE:
        return blake3(data).digest()
    return blake3(data, max_threads=threads()).digest()


def hasher(size: int, used: blake3 | None = None) -> blake3:
    """A running BLAKE3 for ``size`` bytes that come in blocks of about a MiB or more. ``used``: one that is
    done with, whose pool is taken over.
    """
    many = 1 if size < LARGE else threads()
    if many == 1:
        return blake3()
    if used is None:
        return blake3(max_threads=many)
    used.reset()
    return used


def threads() -> int:
    """How many threads a large digest may use, here and now."""
    import threading

    global _home
    _home = _home or os.getpid()
    if _home != os.getpid() or threading.current_thread() is not threading.main_thread():
        return 1
    try:
        return min(_MOST_THREADS, len(os.sched_getaffinity(0)))
    except AttributeError:  # no such call on macOS
        return min(_MOST_THREADS, os.cpu_count() or 1)
