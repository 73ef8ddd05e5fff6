"""Reading ahead: the small results of a function that a program fetches one after the other, fetched many at
a time before it asks. Objects first, entries last (I2), and nothing is decoded (I7).

The problem: a loop over ten thousand results that a remote has is ten thousand requests, each of which it
waits for. The naive way pulls all that the remote has at the first of them: gigabytes for a program that
wants one. What we do: after some single fetches of one function, what else the remote has of it comes, if it
is little, in portions that the thread of `through` takes between its other work. A function with more goes
on as before. It is looked at again after twice as many fetches, then four times, because others may have
added to it.

It is a favour: whatever goes wrong ends it, and says nothing. What a call needs it fetches itself.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from itertools import islice

from scalable_cas.errors import ScalableCasError
from scalable_cas.ops.transfer.pull import pull
from scalable_cas.ops.transfer.pull_plan import PullPlan, plan_pull
from scalable_cas.ops.transfer.repository import open_repository
from scalable_cas.remotes.base import LOOKUP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.ops.transfer.repository import Repository
    from scalable_cas.store.core import StoreCore

#: Single fetches of one function until the others are fetched: under a second of waiting on a bucket.
AFTER = 16
#: What is fetched at most, in bytes: 2 to 6 s at the 10 to 40 MB/s of one connection; in entries: 50 ms to
#: learn that there are more.
MOST_BYTES, MOST_ENTRIES = 64 << 20, 50_000
#: One portion, mostly one request: how long the end of the process may have to wait, and a neighbour for the
#: lock.
PORTION_ENTRIES, PORTION_BYTES = 1000, 2 << 20


class Ahead:
    """What is read ahead from the remote at ``url`` in this process."""

    def __init__(self, store: StoreCore, url: str) -> None:
        self._store = store
        self._url = url
        self._fetched: Counter[bytes] = Counter()
        self._after: dict[bytes, int] = {}
        self._due: deque[bytes] = deque()  # functions
        self._portions: deque[PullPlan] = deque()  # of one of them
        self._repository: Repository | None = None  # with a crew of its own: no call waits for us in it
        self._working = threading.Lock()
        self._ended = False
        self._began = False

    @property
    def is_waiting(self) -> bool:
        """Whether `work` has something to do."""
        return bool(self._due or self._portions) and not self._ended

    def note(self, rowkey: bytes) -> bool:
        """A call fetched an entry by itself; whether there is something to do now."""
        fnid = rowkey[:8]
        self._fetched[fnid] += 1
        after = self._after.get(fnid, AFTER)
        if self._fetched[fnid] < after or self._ended:
            return False
        self._fetched[fnid] = 0
        self._after[fnid] = 2 * after
        self._due.append(fnid)
        return True

    def brought(self, rowkey: bytes) -> bool:
        """Whether an entry may have come between the look of a call into the store and now: then it is worth
        another look.
        """
        return self._began and self._store.index.ref(rowkey) is not None

    def work(self) -> None:
        """Fetch one portion, or find out which ones there are."""
        with self._working:
            if not self.is_waiting:
                return
            try:
                repository = self._opened()
                if not self._portions:
                    self._portions.extend(portions(repository, self._due.popleft()))
                self._began = self._began or bool(self._portions)
                if self._portions:
                    pull(repository, self._portions.popleft())
            except (ScalableCasError, OSError, RuntimeError):  # the last: the interpreter is shutting down
                self._end()

    def _opened(self) -> Repository:
        if self._repository is None:
            self._repository = open_repository(self._store, self._url, jobs=1, limits=LOOKUP)
        return self._repository

    def _end(self) -> None:
        self._ended = True
        if self._repository is not None:
            self._repository.__exit__()
            self._repository = None

    def close(self, seconds: float) -> None:
        """Do no more; wait that long for a portion that is under way."""
        self._ended = True
        if self._working.acquire(timeout=seconds):
            self._end()
            self._working.release()


def portions(repository: Repository, fnid: bytes) -> list[PullPlan]:
    """What is to be fetched of a function (its id, of 8 bytes), as far as the view knows: no request. None if
    that is too much.
    """
    if next(islice(repository.view.entries(fnid), MOST_ENTRIES, None), None) is not None:
        return []
    plan = plan_pull(repository, (fnid,), refresh=False)
    if plan.bytes > MOST_BYTES or not plan.wanted:
        return []
    each = max(1, min(PORTION_ENTRIES, PORTION_BYTES * plan.entries // max(plan.bytes, 1)))
    return [
        PullPlan(plan.wanted[at : at + each], 0, plan.bytes * each // plan.entries, ())
        for at in range(0, plan.entries, each)
    ]
