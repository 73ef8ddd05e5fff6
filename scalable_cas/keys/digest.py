"""BLAKE3 of large buffers, on as many cores as this process may use.

BLAKE3's own pool of threads (``AUTO``) hangs for ever in a child that was forked from a process which had
used it. So the number of threads is always said, which makes a pool for that one call (47 µs), and a forked
child and a thread that is not the main one (a worker of Dask, of a thread pool: its neighbours are busy too)
use one.
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


def hasher(size: int) -> blake3:
    """A running BLAKE3 for ``size`` bytes that come in blocks of about a MiB or more."""
    return blake3() if size < LARGE else blake3(max_threads=threads())


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
