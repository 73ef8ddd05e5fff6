"""Entries and counters put into a store by hand, so that tests of commands need no decorated function."""

from __future__ import annotations

import hashlib

from scalable_cas import clock
from scalable_cas.codecs.base import encode
from scalable_cas.format.record import Record

HOUR = 3600 * 10**9


def digest(text: str, length: int = 32) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:length]


def record(
    function: str, call: str, *, seconds: float = 0.5, age: int = 0, key: bytes | None = None
) -> Record:
    """The record of `function(call)`, stored `age` ns ago."""
    return Record(
        key or digest(f"{function} {call}"),
        digest(function, 8),
        function,
        created=clock.now_ns() - age,
        seconds=seconds,
        parts=[("a", "x", digest(call))],
    )


def put(store, function: str, call: str, value: object = 1, **how) -> str:
    """Store `value` as the result of `function(call)`, and return the call key in hex."""
    made = record(function, call, **how)
    store.save(made, encode(value))
    store.writer.flush()
    return made.key.hex()


def count(store, run: str, process: str, ended: int, **functions: tuple[int, int, float, float]) -> None:
    """The counters of one process of a run: hits, misses, seconds saved and spent of each function."""
    content = {"started": ended - 10, "ended": ended, "functions": {n: list(c) for n, c in functions.items()}}
    store.index.write(lambda changes: changes.put_run(f"{run}/{process}".encode(), content))
