"""Group commit: results are encoded on the caller's path and written off it.

The problem: publishing one result costs a file, two log writes and two flushes, a hundred times what a small
function takes. The naive way, a background thread that is woken for each result, fights the caller for the
interpreter and loses: a loop that never pauses can starve it for seconds, while results pile up unwritten.
What we do: a result that comes after a pause is written by its caller before the call returns. In a burst,
results are queued, and visible to this process at once; the caller that finds the queue long or 50 ms old
writes all of it, which bounds both the delay and the memory; and a thread writes what the last caller left.

Write order of a batch (I2): objects, then under the write lock the re-check that none was collected
meanwhile, the journal, the rows. A batch that fails is dropped as a whole: nothing it held is in the index.

The journal is flushed to the disk afterwards, by a thread of its own. Only a power cut asks for it, and it
waits for whatever the file system has begun to write, which may be hundreds of megabytes of other files: the
caller would wait for it, and under the write lock all other processes too (docs/decisions/0018).
"""

from __future__ import annotations

import threading
from contextlib import suppress

from scalable_cas import clock
from scalable_cas.errors import ScalableCasError, StoreBusy, StoreReadOnly
from scalable_cas.storage import fs
from scalable_cas.storage.write_lock import WRITE_WAIT
from scalable_cas.store import ballast, lifecycle
from scalable_cas.store.publishing import publish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.format.record import Record
    from scalable_cas.storage.index import Changes
    from scalable_cas.storage.loose import Placed
    from scalable_cas.store.core import StoreCore
    from scalable_cas.store.publishing import Pending

INTERVAL = 0.05  # seconds that a result may wait: half of what the contract promises
THREAD_INTERVAL = 0.06  # the thread leaves the caller a moment to come first
#: Entries. A commit costs three flushes, and pages of the index that more entries share: docs/decisions/0009.
LONGEST_QUEUE = 1024
#: Seconds to wait for the write lock once it could not be had: a stopped process must not cost 5 s at every
#: result.
IMPATIENCE = 0.05
#: New small objects in one commit from which on they are written as one pack. A file costs 46 to 380 µs here,
#: a record in a pack 2; but a handful of results stay files, which people look at with `b3sum` and `zstd`.
PACK_LEAST = 32
LARGEST_QUEUE = 8 << 20  # bytes of content held in memory


class Writer:
    """The queue of one store and the thread that empties it."""

    def __init__(self, store: StoreCore) -> None:
        self._store = store
        self.visible: dict[bytes, Pending] = {}
        self._queue: list[Pending] = []
        self._bytes = 0
        self._committed = -INTERVAL  # when the last commit ended; monotonic seconds
        self._mutex = threading.Lock()  # for the queue; held for nanoseconds
        self._commit_lock = threading.RLock()
        # Taken by the thread that writes, given by whoever wakes it. An `Event` has a lock of its own that it
        # takes in Python code: Ctrl-C inside leaves that taken, and the next result waits for ever.
        self._wake = threading.Lock()
        self._wake.acquire()
        self._at_once = lifecycle.is_pool_worker()
        self._thread: threading.Thread | None = None
        self._unsynced: set[str] = set()
        self._due: set[str] = set()  # segments of the journal to be flushed
        self._flushing = False  # whether a thread does it
        self._lock_wait = WRITE_WAIT  # seconds to wait for the write lock
        self._closing = False
        self._packed = False  # whether a pack was written
        self._reserved = -ballast.LOOK_SECONDS  # when the reserve of space was looked at; monotonic seconds

    def add(self, item: Pending, *, now: bool) -> None:
        """Queue a result; with ``now`` it is in the files when this returns. Of a store that cannot be
        written `StoreCore.trouble` is told.
        """
        try:
            with self._mutex:
                self.visible[item.record.rowkey] = item
                self._queue.append(item)
                self._bytes += item.bytes
                length, oldest = len(self._queue), self._queue[0].since
            burst = item.since - self._committed < INTERVAL
            full = length >= LONGEST_QUEUE or self._bytes > LARGEST_QUEUE or item.since - oldest > INTERVAL
            if now or full or not burst or self._at_once:
                self.flush()
            elif length == 1 or self._thread is None:
                self._hand_over()
        except BaseException:  # Ctrl-C: others may wait for what is queued
            self._hand_over()
            raise

    def _hand_over(self) -> None:
        """Have the thread write what is queued."""
        if self._queue:
            if self._thread is None:
                self._start()
            self._call()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="scalable-cas-writer", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is shutting down, or no thread is to be had: callers write
            self.flush()
        else:
            self._thread = thread

    def _call(self) -> None:
        with suppress(RuntimeError):  # it was woken already
            self._wake.release()

    def _run(self) -> None:
        while True:
            self._wake.acquire()
            # A caller in a burst writes by itself; the two would only fight for the interpreter.
            while not self._closing and (left := self._patience()) is not None:
                if left > 0:
                    clock.sleep(left)
                else:
                    self._flush_here()
            if self._closing:
                return

    def _flush_here(self) -> None:
        try:
            self.flush()
        except BaseException:  # a fault that nobody foresaw ends this thread: the next result begins another
            self._thread = None
            raise

    def _patience(self) -> float | None:
        """Seconds until the oldest queued result is the thread's to write; None if nothing is queued."""
        with self._mutex:
            return self._queue[0].since + THREAD_INTERVAL - clock.monotonic() if self._queue else None

    def flush(self, *, notes: bool = False) -> None:
        """Write everything that is queued, and with ``notes`` also counters and times of use when nothing is
        queued.

        A failure is reported once, through `StoreCore.trouble`, and the results stay uncached.
        """
        batch: list[Pending] = []
        with self._commit_lock:
            try:
                with self._mutex:
                    batch, self._queue, self._bytes = self._queue, [], 0
                if batch or (notes and self._store.notes.pending()):
                    self._write(batch)
                    self._let_go(batch)
            except Exception:
                self._let_go(batch)
                raise
            except (
                BaseException
            ):  # Ctrl-C: the functions have run, and others may wait for what they returned
                self._take_back(batch)
                raise

    def _write(self, batch: list[Pending]) -> None:
        try:
            self._commit(batch)
        except (ScalableCasError, OSError, MemoryError) as error:
            self._store.trouble(error, "; results are returned, but not stored")
        finally:
            self._committed = clock.monotonic()

    def _take_back(self, batch: list[Pending]) -> None:
        """Leave a batch to the thread. What it has in the files already is found there."""
        with self._mutex:
            self._queue[:0] = batch
            self._bytes += sum(item.bytes for item in batch)
        self._hand_over()

    def _let_go(self, batch: list[Pending]) -> None:
        rowkeys = [item.record.rowkey for item in batch]
        with self._mutex:
            for rowkey, item in zip(rowkeys, batch, strict=True):
                if self.visible.get(rowkey) is item:
                    del self.visible[rowkey]
        self._store.flights.leave(*rowkeys)

    def abandon(self) -> None:
        """Forget what is queued and stop the thread: the store was removed, which clears it."""
        with self._mutex:
            batch, self._queue, self._bytes = self._queue, [], 0
        self._let_go(batch)
        self._closing = True
        self._call()

    def _commit(self, batch: list[Pending]) -> None:
        store = self._store
        if store.read_only:
            raise StoreReadOnly(store.root, "it is read-only")
        if not store.is_alive():
            return  # the folder was removed while these were queued, which clears them too
        self._keep_reserve()
        epoch = store.index.number("epoch")
        placed = self._put(batch)
        segments: set[str] = set()  # of the journal, that were written to
        stones: list[Record] = []

        def change(changes: Changes) -> None:
            nonlocal placed
            current, again = changes.settle_epoch(epoch)
            # a collector was at work since the objects were put, and may have taken some
            if again and not store.objects.still(placed):
                placed = self._put(batch)
            whole = [
                item for item in batch if item.intake is None or item.intake.is_whole(epoch, again=again)
            ]
            for item in whole:
                placed |= item.intake.placed if item.intake is not None else {}
            stones[:] = publish(store, changes, whole, placed, current)
            if whole:
                segments.add(store.journal.path)

        try:
            store.index.write(change, self._lock_wait)
        except StoreBusy:
            self._lock_wait = IMPATIENCE
            raise
        self._lock_wait = WRITE_WAIT
        self._bury(stones)
        self._mend()
        self._packed = self._packed or any(place.pack for place in placed.values())
        if not store.strict:
            self._remember(placed)
            self._unsynced |= segments  # for `sync`, which cannot tell how far the thread is
            self._flush_soon(segments)

    def _keep_reserve(self) -> None:
        """For the day when the disk is full. Looked at now and then: it costs two questions to the system."""
        now = clock.monotonic()
        if now - self._reserved >= ballast.LOOK_SECONDS:
            self._reserved = now
            ballast.keep(self._store.root)

    def _put(self, batch: list[Pending]) -> dict[bytes, Placed]:
        store = self._store
        objects = [item for pending in batch for item in pending.objects]
        return store.objects.put_all(objects, sync=store.strict, least=PACK_LEAST)

    def _bury(self, stones: list[Record]) -> None:
        """Write tombstones for what was replaced, now that what replaces it has taken effect: they are older
        than that by their numbers. Where they cannot be written `reindex` may fall back on it, as ever.
        """
        if stones:
            with suppress(StoreReadOnly, StoreBusy), self._store.index.environment.locked():
                self._store.journal.append([stone.pack() for stone in stones], sync=self._store.strict)

    def _mend(self) -> None:
        """Save what is whole of packs in which damage was found while results were stored; what was damaged
        is stored anew by then.
        """
        damaged, self._store.objects.damaged = self._store.objects.damaged, set()
        if damaged:
            from scalable_cas.store.moving import rewrite  # only then

            for name in damaged:
                rewrite(self._store, [name])

    def _remember(self, placed: dict[bytes, Placed]) -> None:
        """The files that are to be made safe from a power cut at the end."""
        objects, last = self._store.objects, b""
        for oid, place in placed.items():
            if place.pack and place.pack == last:  # chunks come by the thousand
                continue
            last = place.pack
            # beyond, the whole file system is synced and the names do not matter
            if len(self._unsynced) > fs.MANY:
                return
            self._unsynced.add(objects.packs.path(place.pack) if place.pack else objects.loose.path(oid))

    def _flush_soon(self, segments: set[str]) -> None:
        """Have segments of the journal made safe from a power cut, without waiting for it."""
        with self._mutex:
            self._due |= segments
            if self._flushing or not self._due:
                return
            self._flushing = True
        # Not by the thread that writes: a result in its queue would wait longer than the contract allows.
        thread = threading.Thread(target=self._flush_due, name="scalable-cas-flush", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is shutting down, or no thread is to be had
            self._flush_due()
        except BaseException:  # Ctrl-C: the next commit begins anew
            self._flushing = False
            raise

    def _flush_due(self) -> None:
        while True:
            with self._mutex:
                due, self._due = self._due, set()
                if not due:
                    self._flushing = False
                    return
            try:
                fs.sync_paths(sorted(due))
            except (ScalableCasError, OSError) as error:
                self._store.trouble(error)
            except BaseException:
                self._flushing = False  # the next commit begins anew
                raise

    def sync(self) -> None:
        """Write what is queued and make all of it safe from a power cut."""
        self.flush(notes=True)
        with self._commit_lock:
            paths, self._unsynced = sorted(self._unsynced), set()
            if paths:
                try:
                    fs.sync_paths(paths)
                except (ScalableCasError, OSError) as error:
                    self._store.trouble(error)

    def close(self) -> None:
        """Sync and stop the thread."""
        self._closing = True
        self.sync()
        self._call()
        if self._packed:
            from scalable_cas.store.folding import fold_at_close  # only then

            fold_at_close(self._store)
