"""Open stores and the life of the process: written at exit, left alone by a forked child."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scalable_cas.store.core import StoreCore

_open: set[StoreCore] = set()
_forgetters: list[Callable[[], None]] = []
_hooked = False
_finalizer_of = 0  # the process whose multiprocessing finalizer we set up


def register(store: StoreCore) -> None:
    """Have an open store closed at exit, and let go of by a forked child."""
    global _hooked, _finalizer_of
    _open.add(store)
    if not _hooked:
        import atexit

        atexit.register(close_all)
        os.register_at_fork(after_in_child=_after_fork)
        _hooked = True
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None and _finalizer_of != os.getpid():
        # Workers leave through os._exit, which runs no atexit handlers, but multiprocessing's own.
        from multiprocessing.util import Finalize

        Finalize(None, close_all, exitpriority=10)
        _finalizer_of = os.getpid()
        if process.current_process().daemon:
            _write_when_terminated()


def _write_when_terminated() -> None:
    """Have a worker of a Pool write what is queued when the pool ends it with SIGTERM.

    ``with Pool() as pool`` kills its workers the moment the last result is there, so without this the results
    and counts of the last 50 ms would be lost each time. Only daemon workers of multiprocessing whose SIGTERM
    still has its default effect are touched, and they still die of it. What is given up: a worker inside a
    long call of C code dies when that call returns.
    """
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():  # signals belong to the main thread
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _on_sigterm)


def _on_sigterm(_number: int, _frame: object) -> None:
    busy = [store for store in list(_open) if store.writer.interrupted()]
    for store in busy:
        store.writer.afterwards = _finish_and_die
    if not busy:
        _finish_and_die()


def _finish_and_die() -> None:
    import signal

    for store in list(_open):
        store.writer.afterwards = None
        store.writer.flush(notes=True)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def unregister(store: StoreCore) -> None:
    """The store was closed."""
    _open.discard(store)


def is_registered(store: StoreCore) -> bool:
    """Whether the store is open in this process."""
    return store in _open


def close_all() -> None:
    """Close every open store: at exit."""
    for store in list(_open):
        store.close()


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
    for store in list(_open):
        store.after_fork()
    _open.clear()
    for forget in _forgetters:
        forget()
