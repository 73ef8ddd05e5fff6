"""Threads that wait for the network, and parts of large files at once on some that all files of one remote
share in this process.
"""

from __future__ import annotations

from concurrent.futures import FIRST_EXCEPTION, Future, wait
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, Semaphore, Thread
from typing import TYPE_CHECKING, TypeVar

from scalable_cas.remotes.base import PerProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

T = TypeVar("T")


class Threads:
    """Up to ``jobs`` threads, begun as there is work for them.

    The end of the interpreter does not wait for them. For those of `ThreadPoolExecutor` it does, whatever
    they wait for: a program whose remote had stopped answering ended after 22 s, when the last transfer had
    run into its time limit. What is cut off in the middle of a transfer has no name there yet.
    """

    def __init__(self, jobs: int, name: str) -> None:
        self._jobs = jobs
        self._name = name
        self._queue: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self._idle = Semaphore(0)
        self._mutex = Lock()
        self._shut = False

    def submit(self, work: Callable[..., T], *args: Any) -> Future[T]:
        """Have one thing done.

        Raises:
            RuntimeError: they were shut down, or no thread can be begun any more.
        """
        future: Future[T] = Future()
        with self._mutex:
            if self._shut:
                raise RuntimeError("these threads were shut down")
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._jobs:
                self._begin()
            self._queue.put((future, partial(work, *args)))
        return future

    def _begin(self) -> None:
        thread = Thread(target=self._serve, name=f"{self._name}-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not self._threads:
                raise
        else:
            self._threads.append(thread)

    def _serve(self) -> None:
        while (item := self._queue.get()) is not None:
            future, work = item
            if future.set_running_or_notify_cancel():
                try:
                    result = work()
                except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
                    future.set_exception(error)
                else:
                    future.set_result(result)
                    del result
            del item, future, work  # nothing large is kept while there is nothing to do
            self._idle.release()

    def shutdown(self) -> None:
        """Drop what has not begun, and wait for what has."""
        with self._mutex:
            self._shut = True
        try:
            while (item := self._queue.get_nowait()) is not None:
                item[0].cancel()
        except Empty:
            pass
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()


class Parts:
    """Runs the parts of transfers. A part never waits for another, so that sharing the threads is safe."""

    def __init__(self, jobs: int) -> None:
        self._threads = PerProcess(lambda: Threads(jobs, "scalable-cas-remote"))

    def start(self, actions: list[Callable[[], T]]) -> list[Future[T]]:
        """Begin all of them. At the end of the interpreter no thread starts any more; then they run here."""
        futures: list[Future[T]] = []
        for action in actions:
            try:
                futures.append(self._threads.get().submit(action))
            except RuntimeError:
                future: Future[T] = Future()
                try:
                    future.set_result(action())
                except BaseException:
                    cancel(futures)
                    raise
                futures.append(future)
        return futures

    def close(self) -> None:
        """Let the threads end."""
        threads = self._threads.take()
        if threads is not None:
            threads.shutdown()


def finish(futures: list[Future[T]]) -> list[T]:
    """Wait for all, and return their results in order. At the first failure those that have not begun are
    dropped, those that have are waited for, and the failure is raised.
    """
    try:
        wait(futures, return_when=FIRST_EXCEPTION)
        for future in futures:
            if future.done() and not future.cancelled() and future.exception() is not None:
                future.result()
        return [future.result() for future in futures]
    except BaseException:
        cancel(futures)
        raise


def cancel(futures: list[Future[T]]) -> None:
    """Drop those that have not begun, and wait for those that have: each ends within the time limits."""
    for future in futures:
        future.cancel()
    wait(futures)
