"""Open stores and the life of the process: written at exit, left alone by a forked child."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scalable_cas.store.core import StoreCore

_open: set[StoreCore] = set()
_forgetters: list[Callable[[], None]] = []
_hooked = False
_hooked_early = False
_ending = False
_finalizer_of = 0  # the process whose multiprocessing finalizer we set up


def register(store: StoreCore) -> None:
    """Have an open store closed at exit, and let go of by a forked child."""
    global _hooked, _finalizer_of
    _open.add(store)
    if not _hooked:
        import atexit

        atexit.register(_end)
        os.register_at_fork(after_in_child=_after_fork)
        _hooked = True
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None and _finalizer_of != os.getpid():
        # Workers leave through os._exit, which runs no atexit handlers, but multiprocessing's own.
        from multiprocessing.util import Finalize

        Finalize(None, _end, exitpriority=10)
        _finalizer_of = os.getpid()


def close_attached_in_time() -> None:
    """Have what works beside open stores closed at the end of the main thread, while pools of threads still
    work.

    At `atexit` it is too late: `concurrent.futures`, which boto3 uploads with, refuses new work from then on.
    The hook that it uses itself has no public name (3.9 to 3.14 have it); without it the stores do this when
    they are closed at exit, and what cannot be sent then is sent by the next process.
    """
    global _hooked_early
    if _hooked_early:
        return
    import concurrent.futures.thread  # noqa: F401 - its own hook must be there first: they run in reverse
    import threading

    hook = getattr(threading, "_register_atexit", None)
    if hook is not None:
        with suppress(RuntimeError):  # the main thread has ended already
            hook(_close_attached)
    _hooked_early = True


def _close_attached() -> None:
    for store in list(_open):
        store.close_attached()


def is_pool_worker() -> bool:
    """Whether this is a daemon worker of ``multiprocessing``, such as those of a Pool.

    ``with Pool() as pool`` kills its workers with SIGTERM the moment the last result is there. Such a worker
    writes each result before its call returns, so that none is lost. Catching the signal was tried: Python
    runs its handlers between two steps of the main thread, so a worker that is just about to wait for a task
    can sleep through it, and the pool waits for ever (2 of 20 runs on a busy machine).
    """
    process = sys.modules.get("multiprocessing.process")
    return (
        process is not None
        and process.parent_process() is not None
        and bool(process.current_process().daemon)
    )


def unregister(store: StoreCore) -> None:
    """The store was closed."""
    _open.discard(store)


def is_registered(store: StoreCore) -> bool:
    """Whether the store is open in this process."""
    return store in _open


def close_all() -> None:
    """Close every open store."""
    for store in list(_open):
        store.close()


def _end() -> None:
    """At exit."""
    global _ending
    _ending = True
    close_all()


def is_ending() -> bool:
    """Whether the stores were closed because the process ends: what is called after that, by earlier exit
    handlers and threads that nobody waits for, runs without a cache, and that is nobody's fault.
    """
    return _ending


def flush_all(root: str) -> None:
    """Have every open handle of the store at ``root`` write what it has queued: two handles of one process
    see each other's results.
    """
    for store in list(_open):
        if store.root == root:
            store.writer.flush()


def on_fork(forget: Callable[[], None]) -> None:
    """Have ``forget`` run in every forked child, after the stores were let go; for those who remember one."""
    _forgetters.append(forget)


def _after_fork() -> None:
    global _ending
    _ending = False
    for store in list(_open):
        store.after_fork()
    _open.clear()
    for forget in _forgetters:
        forget()
