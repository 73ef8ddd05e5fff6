"""Parts of large files at once, on threads that all files of one remote share in this process."""

from __future__ import annotations

from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

from scalable_cas.remotes.base import PerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Parts:
    """Runs the parts of transfers. A part never waits for another, so that sharing the threads is safe."""

    def __init__(self, jobs: int) -> None:
        self._threads = PerProcess(lambda: ThreadPoolExecutor(jobs, thread_name_prefix="scalable-cas-remote"))

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
            threads.shutdown(wait=True, cancel_futures=True)


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
