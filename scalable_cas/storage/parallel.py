"""The same work on many parts of one large object, on all cores that this process may use.

Threads live for one piece of work: starting one costs 50 µs, which megabytes of hashing or decompression do
not notice; a pool that stays would have to be made anew after a fork, and ended before the interpreter is.
What is done in them lets go of the interpreter's lock: reading, hashing, zstd, copying with numpy.
"""

from __future__ import annotations

import os
import threading
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any, TypeVar

    T = TypeVar("T")
    Job = Callable[[], None]
    Step = tuple[T, Sequence[Job]]


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

    helpers: list[threading.Event] = []
    try:
        _start(run, min(threads, len(items)) - 1, helpers)
        run()
    except BaseException as error:
        failed.append(error)
        raise
    finally:
        _await(helpers, lambda: None)
    if failed:
        raise failed[0]


def _start(run: Job, count: int, helpers: list[threading.Event]) -> None:
    """Call ``run`` in that many threads, if they are to be had; ``helpers`` gets of each what is set when it
    has ended.

    An interrupt in the middle may leave a thread of which nobody knows whether it was started. So they all
    wait at a gate; where it is not opened for them, none of them does anything.
    """
    gate, opened = threading.Event(), list[bool]()

    def work(ended: threading.Event) -> None:
        gate.wait()
        try:
            if opened:
                run()
        finally:
            ended.set()

    try:
        for _ in range(count):
            ended = threading.Event()
            helper = threading.Thread(target=work, args=(ended,), name="scalable-cas-part", daemon=True)
            try:
                helper.start()
            except RuntimeError:  # the interpreter is shutting down, or no thread is to be had
                break
            helpers.append(ended)
        opened.append(True)
    finally:
        gate.set()


def _await(helpers: Sequence[threading.Event], stop: Job) -> None:
    """Stop helpers, and wait until they have: what they read and write may be closed and opened by others as
    soon as the caller goes on. An interrupt (Ctrl-C) is raised when all have ended.

    Not `Thread.join`: interrupted, it takes the thread for ended (in Python 3.11 and 3.12).
    """
    interrupted: BaseException | None = None
    while True:
        try:
            stop()
            for ended in helpers:
                ended.wait()
            break
        except BaseException as error:  # noqa: BLE001
            # Broad with reason: whatever a signal handler raises, and it is raised below.
            interrupted = error
    if interrupted is not None:
        raise interrupted


def in_order(steps: Iterable[Step[T]], then: Callable[[T], None], threads: int) -> None:
    """Do the jobs of each step, a thing with what is to be done for it, in ``threads`` threads of which the
    caller is one; and call ``then`` with the thing once they are done, in the caller, in the order of the
    steps. The first exception is raised when all have stopped. The next of ``steps`` is asked for when a
    thread has nothing to do, by one at a time.

    The naive way is one after the other, each with all threads: the jobs of a step, then what follows from
    them. So all wait for the slowest, twice in each step. Here the others go on with the jobs of later steps.
    """
    line = _Line(iter(steps))
    helpers: list[threading.Event] = []
    try:
        _start(line.work, threads - 1, helpers)
        line.follow(then)
    finally:
        _await(helpers, lambda: line.stop(None))
    line.check()


class _Begun:
    """A step that is begun: what it is for, and how many of its jobs are not done."""

    __slots__ = ("left", "thing")

    def __init__(self, thing: Any, left: int) -> None:
        self.thing = thing
        self.left = left


class _Line:
    """The steps of `in_order` that are begun, and the jobs of the last one that nobody has taken."""

    def __init__(self, steps: Iterator[Step[Any]]) -> None:
        self._steps = steps
        self._begun: deque[_Begun] = deque()
        self._jobs: deque[tuple[_Begun, Job]] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._failed: BaseException | None = None

    def work(self) -> None:
        """Do jobs until none is left: a helper's part."""
        try:
            while True:
                with self._changed:
                    taken = self._take()
                if taken is None:
                    return
                self._do(*taken)
        except BaseException as error:  # noqa: BLE001
            # Broad with reason: as in `each`.
            self.stop(error)

    def follow(self, then: Callable[[Any], None]) -> None:
        """Do what follows from the steps, and jobs as long as that has to wait: the caller's part."""
        while True:
            with self._changed:
                self.check()
                taken = None if self._is_next_done() else self._take()
                done = self._begun.popleft() if taken is None and self._is_next_done() else None
                if done is None and taken is None:
                    if not self._begun:
                        return
                    self._changed.wait()
            if done is not None:
                then(done.thing)
            elif taken is not None:
                self._do(*taken)

    def check(self) -> None:
        """Raise what went wrong in a helper."""
        if self._failed is not None:
            raise self._failed

    def _is_next_done(self) -> bool:
        return bool(self._begun) and not self._begun[0].left

    def stop(self, error: BaseException | None) -> None:
        """Nothing more is begun."""
        with self._changed:
            self._stopped = True
            self._failed = self._failed or error
            self._changed.notify()

    def _take(self) -> tuple[_Begun, Job] | None:
        """The next job; None if there is none left. Under the lock."""
        while not self._stopped:
            if self._jobs:
                return self._jobs.popleft()
            found = next(self._steps, None)
            if found is None:
                self._stopped = True
                break
            thing, jobs = found
            begun = _Begun(thing, len(jobs))
            self._begun.append(begun)
            self._jobs.extend((begun, job) for job in jobs)
        return None

    def _do(self, begun: _Begun, job: Job) -> None:
        job()
        with self._changed:
            begun.left -= 1
            if not begun.left:
                self._changed.notify()
