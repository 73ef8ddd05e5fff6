"""A few threads for what waits for the network, with bounded memory: no more work is begun than was asked
for.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import wait

from scalable_cas.remotes.parallel import Threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future
    from typing import Any, Self, TypeVar

    Item = TypeVar("Item")
    Result = TypeVar("Result")

#: Transfers at a time. Each holds a pack of up to 32 MiB; a bucket gives some 50 MB/s to a connection.
JOBS = 4


class Crew:
    """``jobs`` threads; a context manager that waits for what is under way, and drops what has not begun."""

    def __init__(self, jobs: int = JOBS) -> None:
        self.jobs = jobs
        self._pool = Threads(jobs, "scalable-cas-transfer")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pool.shutdown()

    def submit(self, work: Callable[..., Result], *args: Any) -> Future[Result]:
        """Have one thing done."""
        return self._pool.submit(work, *args)

    def map(self, work: Callable[[Item], Result], items: Iterable[Item], ahead: int = 0) -> Iterator[Result]:
        """The results of ``work`` in the order of ``items``, of which at most ``ahead`` (default: one for
        each thread) are begun before their turn. An error of one is raised at its turn, when those that had
        begun are done: nothing of them comes later, and after it nothing is begun.
        """
        waiting: deque[Future[Result]] = deque()
        failed: list[BaseException] = []

        def careful(item: Item) -> Result:
            if failed:  # the next in the queue would wait for the same dead server
                raise failed[0]
            try:
                return work(item)
            except BaseException as error:
                failed.append(error)
                raise

        try:
            for item in items:
                waiting.append(self._pool.submit(careful, item))
                if len(waiting) > (ahead or self.jobs):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            wait([future for future in waiting if not future.cancel()])
