"""The same work on many parts of one large object, on all cores that this process may use.

Threads live for one piece of work: starting one costs 50 µs, which megabytes of hashing or decompression do
not notice; a pool that stays would have to be made anew after a fork, and ended before the interpreter is.
What is done in them lets go of the interpreter's lock: reading, hashing, zstd, copying with numpy.
"""

from __future__ import annotations

import os
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


def cores() -> int:
    """How many cores this process may use: one more thread than that would only wait."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(work: Callable[[Any], None], items: Sequence[Any], threads: int) -> None:
    """Call ``work`` for each item, in ``threads`` threads of which the caller is one; no order is promised.
    The first exception is raised when all have stopped; what had not begun by then is not done.
    """
    if threads < 2 or len(items) < 2:
        for item in items:
            work(item)
        return
    left = iter(items)
    lock = threading.Lock()
    failed: list[BaseException] = []

    def run() -> None:
        while not failed:
            with lock:
                try:
                    item = next(left)
                except StopIteration:
                    return
            try:
                work(item)
            except BaseException as error:  # noqa: BLE001
                # Broad with reason: it is raised in the caller, whose exception it is.
                failed.append(error)

    helpers = []
    for _ in range(min(threads, len(items)) - 1):
        helper = threading.Thread(target=run, name="scalable-cas-part", daemon=True)
        try:
            helper.start()
        except RuntimeError:  # the interpreter is shutting down, or no thread is to be had
            break
        helpers.append(helper)
    run()
    for helper in helpers:
        helper.join()
    if failed:
        raise failed[0]
