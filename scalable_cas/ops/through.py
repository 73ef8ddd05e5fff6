"""Read and write through: a call that this store does not know is looked for in a remote before it is run,
and new results go there by themselves (CONTRACT 4).

The problem: a program must never be slower than without a remote by more than it was promised, and never fail
for it. The naive way asks the remote at each miss: a request for every key that nobody has, and 60 s for
each of them where the network is down (sccache's builds stalled so). What we do:

- What the remote has is known from the local copy of its segments (`transfer.view`). The first miss of a
  process brings it up to date; after that a thread does, at most every 30 s, and a miss costs a look into
  the index. Only a function that is known to run long has the copy refreshed before it runs.
- A program that fetches many results of one function gets the others before it asks (`ahead`).
- Whatever waits for the network is waited for as long as something comes, and not longer than 8 s of
  silence. Then the remote is given up, with one warning: nothing is asked of it by a call any more, and the
  thread tries every minute whether it is back. So it is when it answers, but so slowly that running the
  functions would have been quicker: hits that cost more than they saved may do so for 8 s in all.
- What is to be sent stands in the index, written with the entry itself, so that it survives a kill; the
  thread sends it (`outbox`), together every 10 s, or at once where the function took long; and the end of
  the process does, within the same silence.
"""

from __future__ import annotations

import os
import threading
from functools import partial

from scalable_cas import clock
from scalable_cas.errors import MalformedObject, NothingFound, RemoteError, ScalableCasError, UntrustedEntry
from scalable_cas.format import record as records
from scalable_cas.format import view_rows
from scalable_cas.ops import outbox
from scalable_cas.ops.ahead import Ahead
from scalable_cas.ops.transfer.repository import open_repository
from scalable_cas.ops.transfer.single import fetch_entry
from scalable_cas.remotes.base import LOOKUP
from scalable_cas.store import lifecycle, trust
from scalable_cas.store.ingest import is_wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from scalable_cas.format.record import Record
    from scalable_cas.ops.transfer.repository import Repository
    from scalable_cas.store.core import StoreCore

    Result = TypeVar("Result")

#: Seconds that the local copy of the segments counts as fresh: with 1,000 nodes, 33 listings a second.
FRESH = 30.0
#: A function known to run this long (seconds) has the copy refreshed before: a listing takes 0.1 s.
LONG = 5.0
#: The copy is not refreshed more often than this, however long the function runs.
OFTEN = 1.0
#: A refresh that takes this long (seconds) is left to the thread from then on.
SLOW = 1.0
NEVER = float("-inf")
#: Seconds of silence after which the remote is given up. The contract allows 10.
SILENCE = 8.0
#: Seconds that a hit may take beside what its function took and its bytes need: five times what a bucket far
#: away takes.
TARDY = 0.5
#: Seconds until a remote that was given up is tried again, by the thread.
RETRY = 60.0
#: Seconds that results of quick functions are collected for, to be sent together.
GATHER = 10.0


def attach(store: StoreCore, url: str) -> Through:
    """The remote at ``url`` as calls of ``store`` use it; one for each open store and URL.

    Raises:
        ConfigError: the URL is none, holds credentials, or nothing installed knows it.
    """
    found = store.attached.get(url)
    if found is None:
        from scalable_cas.remotes.base import open_remote

        open_remote(url).close()  # says what is wrong with the URL; nothing is sent
        found = store.attached[url] = Through(store, url)
        lifecycle.close_attached_in_time()
    assert isinstance(found, Through)
    store.outbox = view_rows.outbox(url)
    return found


class Through:
    """A remote that calls read and write through. Nothing here raises for a fault of the remote."""

    def __init__(self, store: StoreCore, url: str) -> None:
        self._store = store
        self._url = url
        self._process = os.getpid()
        self._opening = threading.Lock()  # also for refreshing
        self._repository: Repository | None = None
        self._refreshed = NEVER  # when this process last saw the remote's segments; monotonic
        self._slow = False  # whether that took long
        self._lost = 0.0  # seconds that hits cost and did not save, lately
        self._dead = False
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._ahead = Ahead(store, url)
        self._due = float("inf")  # when to send
        self._wanted = False  # a refresh, from the thread
        self._retry = float("inf")  # when to try again
        self._closed = False

    # --- reading ---------------------------------------------------------------------------------------

    def fetch(self, rowkey: bytes, seconds: float | None = None) -> bool:
        """Bring an entry here if the remote has it; whether it did. ``seconds``: the longest known run of the
        function.
        """
        if self._dead or self._closed or self._store.read_only:
            return False
        age = clock.monotonic() - self._refreshed
        worth = (seconds or 0.0) >= LONG and age >= OFTEN and not self._slow
        refresh = worth or self._refreshed == NEVER
        if not refresh:
            if age >= FRESH:
                self._ask_refresh()
            repository = self._repository
            if repository is None or not self._offers(repository, rowkey):
                return self._ahead.brought(rowkey)
        found = bool(self._patiently(partial(self._fetch, rowkey, refresh=refresh)))
        if found and self._ahead.note(rowkey):
            self._start()
        return found

    def knows(self, rowkey: bytes, usable: Callable[[Record], bool]) -> bool:
        """Whether `fetch` would bring an entry that is ``usable``, as far as can be told without fetching
        it.
        """
        if self._dead or self._closed or self._store.read_only:
            return False
        if self._refreshed == NEVER:
            self._patiently(self._refresh)
        elif clock.monotonic() - self._refreshed >= FRESH:
            self._ask_refresh()
        repository = self._repository
        if repository is None:
            return False
        if self._ahead.brought(rowkey) and self._store.contains(rowkey):
            record = self._store.index.record(rowkey)
            return record is not None and usable(record)
        return self._offers(repository, rowkey, usable)

    def _offers(
        self, repository: Repository, rowkey: bytes, usable: Callable[[Record], bool] | None = None
    ) -> bool:
        """Whether the remote has an entry that may be used here and is not here, and that is ``usable``."""
        found = repository.view.lookup(rowkey)
        if found is None:
            return False
        origin, packed = found
        try:
            record = records.unpack(packed)
            if record.rowkey != rowkey or record.type != records.REF:
                return False
            if usable is not None and not usable(record):
                return False
            trust.allows(self._store, origin, record.codec, f"{record.key.hex()} of {record.function!r}")
        except UntrustedEntry as error:
            self._store.trouble(error, "; the function runs instead")
            return False
        except MalformedObject:
            return False
        return is_wanted(self._store, self._store.index.ref(rowkey), record, origin)

    def _fetch(self, rowkey: bytes, *, refresh: bool) -> bool:
        if refresh:
            self._refresh()
        repository = self._repository
        if repository is None or not self._offers(repository, rowkey):
            return self._ahead.brought(rowkey)
        found = repository.view.lookup(rowkey)
        if found is None:
            return False
        record = records.unpack(found[1])
        began = clock.monotonic()
        done = fetch_entry(repository, record, found[0])
        if done.fault:
            self._store.trouble(RemoteError(self._url, "", done.fault), "; the function runs instead")
        self._weigh(clock.monotonic() - began, TARDY + record.seconds + record.total / LOOKUP.slowest)
        return done.new or self._ahead.brought(rowkey)

    def _weigh(self, took: float, fair: float) -> None:
        """Give a remote up whose hits take longer than they should, all in all (seconds). A quick one makes
        up for one that lingered, so that the worst of a hundred does not count.
        """
        if took <= fair:
            self._lost = max(self._lost - (fair - took), 0.0)
            return
        self._lost += took
        if self._lost > SILENCE:  # and it stays so: when it is tried again, one slow hit is enough
            self._lost = SILENCE
            self._give_up(RemoteError(self._url, "", "its answers take longer than the functions"))

    def _refresh(self) -> None:
        """Open the remote if it is not open, and bring the view up to date."""
        began = clock.monotonic()
        with self._opening:
            if self._refreshed > began:  # another thread did while we waited for it
                return
            try:
                if self._repository is None:
                    self._repository = open_repository(self._store, self._url, limits=LOOKUP)
                self._repository.refresh()
            except NothingFound:  # an empty place: whoever pushes first makes it a remote
                pass
            self._refreshed = clock.monotonic()
            self._slow = self._refreshed - began > SLOW

    def _patiently(self, work: Callable[[], Result]) -> Result | None:
        """Do something that waits for the remote, for as long as something comes; None if it failed."""
        outcome: list[Result] = []
        faults: list[Exception] = []
        done = threading.Event()

        def run() -> None:
            try:
                outcome.append(work())
            except Exception as error:  # noqa: BLE001 - it is dealt with in the caller's thread
                faults.append(error)
            done.set()

        threading.Thread(target=run, name="scalable-cas-reading-through", daemon=True).start()
        heard, last = self._heard(), clock.monotonic()
        while not done.wait(0.2):
            now, moved = clock.monotonic(), self._heard()
            if moved != heard:
                heard, last = moved, now
            elif now - last > SILENCE:
                self._give_up(RemoteError(self._url, "", f"no answer for {SILENCE:.0f} seconds"))
                return None
        for fault in faults:
            if isinstance(fault, RemoteError):
                self._give_up(fault)
            elif isinstance(fault, (ScalableCasError, OSError)):
                self._store.trouble(fault, "; the remote was not asked")
            else:
                raise fault
        return outcome[0] if outcome else None

    def _heard(self) -> tuple[int, int]:
        """What changes while something comes."""
        repository = self._repository
        if repository is None:
            return 0, 0
        traffic = repository.remote.traffic
        return traffic.bytes_received, traffic.bytes_sent

    def _give_up(self, error: ScalableCasError | OSError) -> None:
        """Ask nothing of the remote until the thread finds it again."""
        self._dead = True
        self._retry = clock.monotonic() + RETRY
        kept = "results wait here and are sent later"
        self._store.trouble(error, f"; calls go on without the remote, {kept}")
        self._start()

    # --- writing ---------------------------------------------------------------------------------------

    def stored(self, seconds: float) -> None:
        """A result was stored here, of a function that took that long; it is to be sent."""
        now = clock.monotonic()
        if seconds >= LONG:
            self._due = now
        elif now + GATHER < self._due:
            self._due = now + GATHER
        else:
            return
        self._start()

    def _ask_refresh(self) -> None:
        if not self._wanted:
            self._wanted = True
            self._start()

    def _start(self) -> None:
        """Have the thread look at what is to be done."""
        if self._thread is None and not self._closed:
            thread = threading.Thread(target=self._run, name="scalable-cas-remote", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is shutting down: `close` sends
                return
            self._thread = thread
        self._wake.set()

    def _run(self) -> None:
        while True:
            next_time = self._retry if self._dead else 0.0 if self._ahead.is_waiting else self._due
            self._wake.wait(max(min(next_time - clock.monotonic(), RETRY), 0.0))
            self._wake.clear()
            if self._closed:
                return
            try:
                self._work()
            except (ScalableCasError, OSError) as error:
                self._give_up(error)

    def _work(self) -> None:
        now = clock.monotonic()
        if self._dead:
            if now < self._retry:
                return
            self._retry = now + RETRY
            self._refresh()
            self._dead = False
        elif self._wanted:
            self._refresh()
        self._wanted = False
        if now >= self._due:
            self._due = float("inf")
            if not outbox.send(self._store, self._url):
                self._due = now + GATHER  # another process is at it: see then what it left
        if not self._dead:
            self._ahead.work()

    def close(self) -> None:
        """Send what is to be sent, and let go of the remote. Closing twice is fine."""
        if self._closed or self._process != os.getpid():
            return
        if not self._dead and self._store.is_open and not self._store.read_only:
            try:
                self._store.flush()
                if outbox.is_waiting(self._store, self._url):
                    self._patiently(partial(outbox.send, self._store, self._url, wait=SILENCE))
            except (ScalableCasError, OSError) as error:
                self._store.trouble(error)
        self._closed = True
        self._wake.set()
        self._ahead.close(SILENCE)
        self._store.attached.pop(self._url, None)
        if self._repository is not None and not self._dead:
            self._repository.__exit__()
        self._store.say()
