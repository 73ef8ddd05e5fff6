"""Trying again: which failures deserve it, how often, and when time is up. Knows no protocol.

boto3's own retries are switched off: they do not cover the reading of a body, do not know 409 of a
conditional write, and their time limits multiply (60 s for each of three tries).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

from scalable_cas import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from scalable_cas.remotes.base import Limits, Traffic

T = TypeVar("T")

#: How many tries a kind of failure gets. "refused": nobody listens; a server that restarts may be back at the
#: third. "silent": each costs a whole time limit. "busy": the server asks for patience. "broken": a
#: connection or body that ended early, mostly gone with a new connection. "at once": a changed request.
TRIES = {"final": 1, "refused": 3, "silent": 2, "busy": 10, "broken": 5, "at once": 3}


class Setback(Exception):
    """One try failed. ``kind`` is one of `TRIES`; ``error`` is what becomes of it if it was the last."""

    def __init__(self, kind: str, error: Exception) -> None:
        super().__init__(kind)
        self.kind = kind
        self.error = error


def persist(action: Callable[[int], T], limits: Limits, traffic: Traffic, size: int = 0) -> T:
    """Call ``action`` with 1, 2, 3… until it raises no `Setback`, within the limits for a body of ``size``
    bytes.

    A try that might be answered by silence is only begun while ``limits.read`` is left of ``limits.total``,
    so that the sum stays below. Pauses double from 0.1 s to 4 s, each shortened at random by up to a half:
    clients that failed together must not come back together (AWS, "Exponential backoff and jitter").

    Raises:
        RemoteError: the last setback's.
    """
    started = clock.monotonic()
    seen: dict[str, int] = {}
    number = 0
    while True:
        number += 1
        try:
            return action(number)
        except Setback as setback:
            kind = setback.kind
            seen[kind] = seen.get(kind, 0) + 1
            pause = 0.0 if kind == "at once" else min(4.0, 0.05 * 2**number) * random.uniform(0.5, 1)  # noqa: S311
            left = limits.tries(size) - (clock.monotonic() - started)
            if seen[kind] >= TRIES[kind] or left < pause + limits.read:
                raise setback.error from setback.__cause__
        traffic.add(retries=1)
        clock.sleep(pause)
