"""Notes of a worker that will be ended without warning, written now and then.

``multiprocessing.Pool`` ends its workers with SIGTERM, which runs nothing at exit (see `is_pool_worker`). Of
a worker that had nothing but hits nothing would be known then: not by `report`, nor by `gc --unused-for`, to
which the entries would look unused. So a thread writes its notes; a hit does not know of it. What a worker
counts in its last moments is lost.
"""

from __future__ import annotations

import threading

from scalable_cas import clock
from scalable_cas.errors import ScalableCasError
from scalable_cas.storage.environment_files import leave_stamp
from scalable_cas.store import lifecycle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.store.core import StoreCore
    from scalable_cas.store.writer import Writer

#: Seconds until the first time, for pools that live for a moment; each pause is twice the last one, up to the
#: longest.
FIRST, LONGEST = 0.02, 0.25
#: Each pause is also so many times as long as the writing took, most of it waiting for the disk and for other
#: workers: however many there are, they leave the lock to those who store.
SHARE = 30
#: Seconds to wait for the write lock: the next time will do.
PATIENCE = 1.0


def begin(store: StoreCore) -> None:
    """Begin in a worker of a pool; elsewhere nothing needs to be done."""
    if store.read_only or not lifecycle.is_pool_worker():
        return
    thread = threading.Thread(target=_run, args=(store, store.writer), name="scalable-cas-notes", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter is shutting down, or no thread is to be had
        pass


def _run(store: StoreCore, writer: Writer) -> None:
    pause = FIRST
    while True:
        clock.sleep(pause)
        if store.__dict__.get("writer") is not writer:  # closed, or opened anew
            return
        started = clock.monotonic()
        try:
            if store.notes.pending() and store.is_alive():
                with store.index.environment.locked(PATIENCE):
                    store.index.write(store.notes.write)
                    leave_stamp(store.index.path)  # the end will not: the next user need not check it all
        except (ScalableCasError, OSError):  # a statistic is not worth a warning
            pass
        pause = max(min(2 * pause, LONGEST), SHARE * (clock.monotonic() - started))
