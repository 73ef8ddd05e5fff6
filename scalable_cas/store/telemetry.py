"""Hits, misses and seconds saved, counted in memory and written with the next group commit or at exit.

A *run* is one process that used the cache with the worker processes that it started. Workers of
``multiprocessing`` (Pool, ProcessPoolExecutor, Dask) count into the run of the process that started them,
whether or not that one ever made a cached call itself: the run is named by the process at the root, which a
worker knows as its parent.
"""

from __future__ import annotations

import os
import sys

from scalable_cas import clock
from scalable_cas.format.rows import UNKNOWN_CODE
from scalable_cas.storage.drafts import start_ticks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from scalable_cas.store.core import StoreCore

#: Rows kept one by one; older runs are added up into one row, so that the table stays small in a job that
#: runs every minute.
RUNS_KEPT = 1000


class Counters:
    """What one function did in this process: ``hits``, ``misses``, ``saved`` (seconds), ``spent`` (seconds in
    the function).

    It also knows the function's code, because it is at hand where a row is judged: ``codes`` are the code
    fingerprints of rows that are as good as the function's own, ``accepts(store, rowkey, code)`` is asked
    about any other and says whether the entry may be used.
    """

    __slots__ = ("accepts", "codes", "hits", "misses", "saved", "spent")

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        self.saved = 0.0
        self.spent = 0.0
        self.codes: set[bytes] = {UNKNOWN_CODE}
        self.accepts: Callable[[StoreCore, bytes, bytes], bool] = _accept


def _accept(_store: StoreCore, _rowkey: bytes, _code: bytes) -> bool:
    """For who reads entries and runs no function."""
    return True


class Telemetry:
    """The counters of this process in one store."""

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled
        self.functions: dict[str, list[Counters]] = {}
        self._key: bytes | None = None
        self._started = clock.now_ns()
        self._written = 0

    def counters(self, function: str) -> Counters:
        """New counters for one wrapper of a function; a function may be wrapped more than once."""
        counters = Counters()
        self.functions.setdefault(function, []).append(counters)
        return counters

    def pending(self) -> bool:
        """Whether something was counted since `row` was last asked for."""
        return self.enabled and self._total() != self._written

    def row(self) -> tuple[bytes, dict[str, Any]]:
        """The key and the content of this process's row: all that it counted so far."""
        if self._key is None:
            self._key = run_id() + f"/{os.getpid()}.{start_ticks(os.getpid())}".encode()
        self._written = self._total()
        functions = {}
        for name, wrappers in list(self.functions.items()):
            sums = [
                sum(getattr(c, field) for c in wrappers) for field in ("hits", "misses", "saved", "spent")
            ]
            if sums[0] or sums[1]:
                functions[name] = sums
        return self._key, {"started": self._started, "ended": clock.now_ns(), "functions": functions}

    def _total(self) -> int:
        return sum(c.hits + c.misses for wrappers in list(self.functions.values()) for c in wrappers)


_root: bytes | None = None


def run_id() -> bytes:
    """The name of the run that this process belongs to: start time and id of the process at its root."""
    global _root
    if _root is None:
        pid = os.getpid()
        process = sys.modules.get("multiprocessing.process")
        parent = process.parent_process() if process is not None else None
        if parent is not None and parent.pid is not None:
            pid = parent.pid
        _root = f"{boot()}.{pid}.{start_ticks(pid)}".encode()
    return _root


def settle_run() -> None:
    """Before a fork: fix the run, so that a child made by a bare ``os.fork`` belongs to it."""
    run_id()


def boot() -> str:
    """A name of this start of the machine; "0" where there is none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read(8)
    except OSError:
        return "0"
