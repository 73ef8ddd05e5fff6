"""What is seen to before a fork, so that the child can use the index: nobody writes, and nobody is inside a
read. See `environment.py` for why.

That nobody reads is seen by the thread that forks; then no other may begin to until it has. Threads take
turns: one that waits for the interpreter asks for it after 5 ms, and the system may let another process run
in between for longer than that. So before the last look the turns are made longer: much longer where another
thread is seen in our code, and a little where none is, because to wait for that look may take a turn of a
thread that computes and never pauses.
"""

from __future__ import annotations

import os
import sys
import threading

from scalable_cas import clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from scalable_cas.storage.environment import Environment

#: How long a fork waits for readers: a look-up takes microseconds, so this is for unlucky schedules. 0.5 s
#: were too few with four busy threads under load, because each look here waits 5 ms for each of them.
_WAIT = 2.0
#: Seconds of a turn, from before the last look on; where nobody is near a read, and where somebody is. On a
#: machine with ten times its load 0.1 s were too few.
_LONGER, _MUCH_LONGER = 0.02, 0.5
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

_held: list[threading.RLock] = []
_interval = 0.0


def prepare(environments: Sequence[Environment], patience: float) -> None:
    """Before a fork: wait for writers, ``patience`` seconds for each, and for readers."""
    global _interval
    for environment in environments:
        if environment.lock.mutex.acquire(timeout=patience):
            _held.append(environment.lock.mutex)
    if not environments or threading.active_count() == 1:
        return
    _interval = sys.getswitchinterval()
    deadline = clock.monotonic() + _WAIT
    while clock.monotonic() < deadline:
        sys.setswitchinterval(_MUCH_LONGER if _somebody_is_near() else _LONGER)
        clock.sleep(0.0001)  # the others begin to wait for us as we wake up
        if not _somebody_reads(environments):
            break
        sys.setswitchinterval(_interval)
        while _somebody_reads(environments) and clock.monotonic() < deadline:
            clock.sleep(0.0001)


def _somebody_reads(environments: Sequence[Environment]) -> bool:
    return any(environment.busy for environment in environments)


def _somebody_is_near() -> bool:
    """Whether another thread is in our code, or in what that calls; our own threads sleep deeper below it."""
    me = threading.get_ident()
    frames = sys._current_frames()  # noqa: SLF001 - documented, and there is no other way
    return any(i != me and (_is_ours(frame) or _is_ours(frame.f_back)) for i, frame in frames.items())


def _is_ours(frame: Any) -> bool:
    return frame is not None and frame.f_code.co_filename.startswith(_OURS)


def resume() -> None:
    """After it, in the parent."""
    _take_turns()
    while _held:
        _held.pop().release()


def begin_anew() -> None:
    """After it, in the child: what was held is the parent's."""
    _take_turns()
    _held.clear()


def _take_turns() -> None:
    global _interval
    if _interval:
        sys.setswitchinterval(_interval)
        _interval = 0.0


def abandon(env: Any) -> None:
    """Keep LMDB's object for ever: freeing it at exit would wait for a thread that does not exist here."""
    import ctypes  # 5 ms, in a child that is this unlucky

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(env))
